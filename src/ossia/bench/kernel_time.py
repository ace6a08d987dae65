"""KernelTime: what one kind of kernel of a decode step takes, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """One kind of launch or operation.

    Args:
        name: What it does.
        calls: Of it in a step.
        seconds: Of one call, run over all layers' weights in turn so that they come from memory.
        read_bytes: Of weights, or of keys and values, that one call has to read; None where neither plays a
            part.
        share: Of the read bandwidth; None likewise.
        in_place: Seconds that a call adds to a chain of layers that ends with it; None where that
            was not measured.
    """

    name: str
    calls: int
    seconds: float
    read_bytes: float | None
    share: float | None
    in_place: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        calls: int,
        seconds: float,
        read_bytes: float | None,
        bandwidth: float,
        in_place: float | None = None,
    ) -> KernelTime:
        """With its share of a bandwidth in bytes a second."""
        share = None if read_bytes is None else read_bytes / seconds / bandwidth
        return cls(
            name=name,
            calls=calls,
            seconds=seconds,
            read_bytes=read_bytes,
            share=share,
            in_place=in_place,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """A decode step, in parts and whole.

    Args:
        way: How it was run: "graph" for the launches of one CUDA graph, "operations" for those of
            the model one by one.
        batch: Sequences.
        context: Tokens of each.
        distinct_experts: Chosen in a layer, on average, counted.
        kernels: Its parts, in their order.
        sum_seconds: Of all calls of all parts.
        step_seconds: Of the whole step.
        weight_bytes: Of weights that the step has to read.
        share: Of the read bandwidth, weights counted.
        kv_bytes: Of keys and values that it must read besides.
        share_with_kv: The same with keys and values.
    """

    way: str
    batch: int
    context: int
    distinct_experts: float
    kernels: tuple[KernelTime, ...]
    sum_seconds: float
    step_seconds: float
    weight_bytes: float
    share: float
    kv_bytes: float
    share_with_kv: float

    @classmethod
    def of(
        cls,
        way: str,
        batch: int,
        context: int,
        distinct: float,
        kernels: Sequence[KernelTime],
        step_seconds: float,
        weight_bytes: float,
        bandwidth: float,
        kv_bytes: float = 0.0,
    ) -> StepTimes:
        """With sum and shares worked out."""
        readable = step_seconds * bandwidth  # bytes meanwhile
        return cls(
            way=way,
            batch=batch,
            context=context,
            distinct_experts=distinct,
            kernels=tuple(kernels),
            sum_seconds=sum(kernel.calls * kernel.seconds for kernel in kernels),
            step_seconds=step_seconds,
            weight_bytes=weight_bytes,
            share=weight_bytes / readable,
            kv_bytes=kv_bytes,
            share_with_kv=(weight_bytes + kv_bytes) / readable,
        )

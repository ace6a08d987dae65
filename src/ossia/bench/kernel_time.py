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
        weight_bytes: That one call has to read; None where weights play no part.
        share: Of the read bandwidth; None likewise.
        in_place: Seconds that a call adds to a chain of layers that ends with it; None where that
            was not measured.
    """

    name: str
    calls: int
    seconds: float
    weight_bytes: float | None
    share: float | None
    in_place: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        calls: int,
        seconds: float,
        weight_bytes: float | None,
        bandwidth: float,
        in_place: float | None = None,
    ) -> KernelTime:
        """With its share of a bandwidth in bytes a second."""
        share = None if weight_bytes is None else weight_bytes / seconds / bandwidth
        return cls(
            name=name,
            calls=calls,
            seconds=seconds,
            weight_bytes=weight_bytes,
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
        weight_bytes: That the step has to read.
        share: Of the read bandwidth.
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
    ) -> StepTimes:
        """With sum and share worked out."""
        return cls(
            way=way,
            batch=batch,
            context=context,
            distinct_experts=distinct,
            kernels=tuple(kernels),
            sum_seconds=sum(kernel.calls * kernel.seconds for kernel in kernels),
            step_seconds=step_seconds,
            weight_bytes=weight_bytes,
            share=weight_bytes / step_seconds / bandwidth,
        )

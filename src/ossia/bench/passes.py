"""Passes: what each forward pass of an engine computes, and the least time that they all can take."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ossia.bench.ceilings import Ceilings
from ossia.bench.roofline import pass_flops, pass_kv_bytes, weight_bytes
from ossia.bench.subject import Subject
from ossia.engine.core import EngineCore
from ossia.engine.plan import StepPlan, StepResult


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass.

    Args:
        counts: New tokens of each sequence.
        before: Tokens of each that were there already.
        rows: Of logits that were wanted.
    """

    counts: Sequence[int]
    before: Sequence[int]
    rows: int

    @classmethod
    def of(cls, plan: StepPlan) -> Pass:
        """Of a plan that has not been carried out; as small as can be, since there are thousands."""
        return cls(
            array("i", [entry.num_tokens for entry in plan.entries]),
            array("i", [entry.sequence.num_computed for entry in plan.entries]),
            len(plan.draws),
        )


def note_passes(core: EngineCore) -> list[Pass]:
    """What an engine computes from now on; grows with every pass."""
    passes: list[Pass] = []
    execute = core._runner.execute

    def noting(plan: StepPlan) -> StepResult:
        passes.append(Pass.of(plan))
        return execute(plan)

    core._runner.execute = noting
    return passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """What passes need of a device, and how near they came to it.

    Args:
        weight_bytes: Of weights that all of them had to read; experts as uniform routing would choose.
        kv_bytes: Of keys and values that they had to read.
        flops: Operations of their matrix products.
        seconds: That they take at the least: of each pass the longer of its reads, weights with keys and
            values, and its products.
        share: Of the time that they took.
    """

    weight_bytes: float
    kv_bytes: float
    flops: float
    seconds: float
    share: float

    @classmethod
    def of(
        cls,
        passes: Sequence[Pass],
        subject: Subject,
        kv_dtype: str,
        ceilings: Ceilings,
        duration: float,
    ) -> Roofline:
        """Add passes up.

        Args:
            passes: Of one engine.
            subject: Its model, rounded as the engine has rounded it.
            kv_dtype: How its keys and values are stored.
            ceilings: Of the device, measured in the same run.
            duration: Seconds that the passes took, with all that stood between them.
        """
        config, itemsize = subject.network.config, subject.dtype.itemsize
        int8, fp8 = subject.is_int8, subject.fp8_parts

        @cache
        def read_for(tokens: int, *, unembedding: bool) -> float:
            return weight_bytes(
                config, itemsize, tokens, int8=int8, fp8=fp8, unembedding=unembedding
            )

        weights = keys = flops = seconds = 0.0
        for one in passes:
            read = read_for(sum(one.counts), unembedding=one.rows > 0)
            kept = pass_kv_bytes(config, itemsize, one.counts, one.before, kv_dtype)
            computed = pass_flops(config, one.counts, one.before, one.rows)
            weights, keys, flops = weights + read, keys + kept, flops + computed
            seconds += max((read + kept) / ceilings.read_bandwidth, computed / ceilings.matrix_rate)
        return cls(
            weight_bytes=weights,
            kv_bytes=keys,
            flops=flops,
            seconds=seconds,
            share=seconds / duration,
        )

"""LoadMetrics: what a number of requests came to, in the words that peers print."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ossia.bench.distribution import Distribution
from ossia.bench.request_timing import RequestTiming

_MS = 1e3
THRESHOLDS = ("ttft", "tpot", "e2el")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMetrics:
    """Of all requests of a run. Failed ones count nowhere but in `failed` and `errors`.

    Args:
        completed: Requests whose whole output came.
        failed: The others.
        errors: Why they failed, and how often.
        duration: Seconds of the run, from before the first start to the end of the last request.
        input_tokens: Of all prompts.
        output_tokens: Of all outputs.
        requests_per_second: Completed ones.
        input_tokens_per_second: Input tokens over the duration.
        output_tokens_per_second: Output tokens over the duration, prompts not counted.
        total_tokens_per_second: Both.
        peak_output_tokens_per_second: In the best second of the run, each piece counted as its share
            of its request's tokens.
        peak_concurrent_requests: Open at the same moment.
        tokens_per_piece: Output tokens over the pieces in which they came.
        goodput: Completed requests a second that kept all thresholds; None where none is set.
        ttft_ms: Times to first token.
        tpot_ms: Times per output token, one for each request.
        itl_ms: Gaps between pieces, of all requests.
        e2el_ms: End-to-end latencies.
    """

    completed: int
    failed: int
    errors: dict[str, int]
    duration: float
    input_tokens: int
    output_tokens: int
    requests_per_second: float
    input_tokens_per_second: float
    output_tokens_per_second: float
    total_tokens_per_second: float
    peak_output_tokens_per_second: float
    peak_concurrent_requests: int
    tokens_per_piece: float | None
    goodput: float | None
    ttft_ms: Distribution | None
    tpot_ms: Distribution | None
    itl_ms: Distribution | None
    e2el_ms: Distribution | None

    @classmethod
    def of(
        cls,
        timings: Sequence[RequestTiming],
        duration: float,
        thresholds: Mapping[str, float] | None = None,
    ) -> LoadMetrics:
        """Add a run up.

        Args:
            timings: Of all its requests.
            duration: Seconds.
            thresholds: Milliseconds that `ttft`, `tpot` and `e2el` of a good request may take.
        """
        done = [one for one in timings if one.error is None]
        inputs = sum(one.input_tokens for one in done)
        outputs = sum(one.output_tokens for one in done)
        pieces = sum(len(one.pieces) for one in done)
        good = sum(_is_good(one, thresholds) for one in done) if thresholds else None
        return cls(
            completed=len(done),
            failed=len(timings) - len(done),
            errors=dict(Counter(one.error for one in timings if one.error is not None)),
            duration=duration,
            input_tokens=inputs,
            output_tokens=outputs,
            requests_per_second=len(done) / duration,
            input_tokens_per_second=inputs / duration,
            output_tokens_per_second=outputs / duration,
            total_tokens_per_second=(inputs + outputs) / duration,
            peak_output_tokens_per_second=_peak_rate(done, duration),
            peak_concurrent_requests=_peak_concurrent(done),
            tokens_per_piece=outputs / pieces if pieces else None,
            goodput=None if good is None else good / duration,
            ttft_ms=_ms([one.ttft for one in done]),
            tpot_ms=_ms([one.tpot for one in done]),
            itl_ms=_ms([gap for one in done for gap in one.itls]),
            e2el_ms=_ms([one.e2el for one in done]),
        )


def _ms(samples: Sequence[float | None]) -> Distribution | None:
    found = Distribution.of([sample for sample in samples if sample is not None])
    return None if found is None else found.scaled(_MS)


def _is_good(timing: RequestTiming, thresholds: Mapping[str, float]) -> bool:
    """A single token has no time per token, and keeps any; no token at all keeps none."""
    if not timing.pieces:
        return False
    return all(getattr(timing, name) is None or getattr(timing, name) * _MS <= limit for name, limit in thresholds.items())  # fmt: skip


def _peak_rate(done: Sequence[RequestTiming], duration: float) -> float:
    """Tokens in the best whole second since the first start; over the duration if that is less."""
    begun = min((one.started for one in done), default=0.0)
    seconds: Counter[int] = Counter()
    tokens: dict[int, float] = {}
    for one in done:
        seconds.clear()
        seconds.update(math.floor(moment - begun) for moment in one.pieces)
        for second, pieces in seconds.items():
            share = one.output_tokens * pieces / len(one.pieces)
            tokens[second] = tokens.get(second, 0.0) + share
    return max(tokens.values(), default=0.0) / min(1.0, duration)


def _peak_concurrent(done: Sequence[RequestTiming]) -> int:
    starts = [(one.started, 1) for one in done if one.pieces]
    ends = [(one.pieces[-1], -1) for one in done if one.pieces]
    most = now = 0
    for _, change in sorted(starts + ends):  # at the same moment an end comes first
        now += change
        most = max(most, now)
    return most

"""Distribution: what a number of measurements came to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Of some measurements, in their unit.

    Args:
        count: How many there are.
        mean: Arithmetic.
        std: Standard deviation of a sample (n - 1 in the denominator); 0 of a single one.
        median: Middle one, or the mean of the two.
        p90: 90th percentile, interpolated linearly between neighbours (Hyndman and Fan 1996, type 7).
        p95: Likewise.
        p99: Likewise.
        minimum: Least.
        maximum: Greatest.
    """

    count: int
    mean: float
    std: float
    median: float
    p90: float
    p95: float
    p99: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Distribution | None:
        """Of measurements in any order; None of none."""
        if not samples:
            return None
        hundredths = _hundredths(samples)
        return cls(
            count=len(samples),
            mean=statistics.fmean(samples),
            std=statistics.stdev(samples) if len(samples) > 1 else 0.0,
            median=statistics.median(samples),
            p90=hundredths[89],
            p95=hundredths[94],
            p99=hundredths[98],
            minimum=min(samples),
            maximum=max(samples),
        )

    def scaled(self, factor: float) -> Distribution:
        """In another unit; `factor` is positive."""
        return Distribution(
            count=self.count,
            **{
                name: getattr(self, name) * factor
                for name in ("mean", "std", "median", "p90", "p95", "p99", "minimum", "maximum")
            },
        )


def _hundredths(samples: Sequence[float]) -> list[float]:
    """The 99 percentiles."""
    if len(samples) == 1:  # which Python 3.12 refuses
        return [samples[0]] * 99
    return statistics.quantiles(samples, n=100, method="inclusive")

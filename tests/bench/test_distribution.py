"""Distribution against numpy."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.bench.distribution import Distribution


@pytest.mark.parametrize("count", [1, 2, 3, 7, 99, 100, 101, 1000])
def test_figures_are_numpy_s(count: int):
    samples = [random.lognormvariate(0, 2) for _ in range(count)]
    found = Distribution.of(samples)
    assert found is not None
    assert found.count == count
    assert found.mean == pytest.approx(np.mean(samples))
    assert found.std == pytest.approx(np.std(samples, ddof=1) if count > 1 else 0.0)
    assert found.median == pytest.approx(np.median(samples))
    for percent in (90, 95, 99):
        assert getattr(found, f"p{percent}") == pytest.approx(np.percentile(samples, percent))
    assert (found.minimum, found.maximum) == (min(samples), max(samples))


def test_nothing_has_no_distribution():
    assert Distribution.of([]) is None


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(1e-6, 1e6), st.randoms())
def test_order_does_not_matter_and_units_scale(samples, factor, numbers):
    found = Distribution.of(samples)
    shuffled = list(samples)
    numbers.shuffle(shuffled)
    again = Distribution.of(shuffled)
    assert found is not None
    assert again is not None
    assert math.isclose(found.mean, again.mean, rel_tol=1e-12)
    names = ("minimum", "median", "p90", "p95", "p99", "maximum")
    figures = [getattr(found, name) for name in names]
    assert figures == [getattr(again, name) for name in names]
    slack = 1e-12 * found.maximum  # interpolation rounds
    assert all(low <= high + slack for low, high in pairwise(figures))
    scaled = Distribution.of([sample * factor for sample in samples])
    assert scaled is not None
    for name in ("mean", "std", *names):
        assert math.isclose(
            getattr(found.scaled(factor), name),
            getattr(scaled, name),
            rel_tol=1e-6,
            abs_tol=1e-6 * scaled.maximum,
        )

"""Ceilings: what was moved or computed, over the time that it took."""

from __future__ import annotations

import itertools

import pytest
import torch

from ossia.bench import ceilings, timing
from ossia.bench.ceilings import CpuReads, matrix_rate, measure_ceilings, read_bandwidth

CPU = torch.device("cpu")


@pytest.fixture
def two_seconds_a_call(monkeypatch) -> None:
    """Each look at the clock is two seconds behind the one before."""
    ticks = itertools.count(step=2)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))


def test_bandwidth_is_bytes_over_seconds(two_seconds_a_call):
    assert read_bandwidth(CPU, 1 << 20) == (1 << 20) / 2


def test_the_rate_counts_two_operations_for_each_product(two_seconds_a_call):
    assert matrix_rate(CPU, 64) == 2 * 64**3 / 2


def test_the_best_of_several_counts(monkeypatch):
    times = iter([0, 9, 10, 11, 20, 24, 30, 37, 40, 49, 50, 58, 60, 62])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(times))
    assert read_bandwidth(CPU, 1 << 10) == 1024  # the second took a second


@pytest.mark.parametrize("kernels", [True, False])
def test_a_moments_bandwidth_is_that_of_the_fastest_read(monkeypatch, kernels):
    if not kernels:
        monkeypatch.setattr(ceilings, "load", lambda: None)
    took = iter([5.0, 2.0, 4.0, 3.0, 8.0, 9.0])
    ends = itertools.count()
    clock = itertools.accumulate(next(took) if n % 2 else 0.0 for n in ends)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert CpuReads(1 << 20).now() == (1 << 20) / 2


def test_medians_leave_the_first_call_out(monkeypatch):
    calls: list[int] = []
    times = iter([0, 5, 10, 11, 20, 22])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(times))
    assert timing.median_seconds(lambda: calls.append(1), CPU, 3) == 2
    assert len(calls) == 4


def test_a_small_machine_reads_less(monkeypatch):
    class Free:
        free_bytes = 1 << 22

    made: list[int] = []
    ones = torch.ones
    monkeypatch.setattr(ceilings, "machine_memory", lambda: (Free,))
    monkeypatch.setattr(
        torch, "ones", lambda count, **options: made.append(count) or ones(count, **options)
    )
    assert read_bandwidth(CPU) > 0
    assert made == [(1 << 20) // 4]


@pytest.mark.gpu
def test_a_gpu_is_measured():
    found = measure_ceilings(torch.device("cuda"))
    assert found.read_bandwidth > 1e11
    assert found.matrix_rate > 1e12

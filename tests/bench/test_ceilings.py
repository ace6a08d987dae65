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
    assert CpuReads(nbytes=1 << 20).now() == (1 << 20) / 2


def test_a_moments_pieces_lie_in_the_memory_that_is_given(monkeypatch):
    large, small = torch.arange(1 << 20), torch.arange(3 << 10, dtype=torch.int32).view(3, -1)
    reads = CpuReads([large, small], nbytes=1 << 20)
    pieces = [piece for _ in range(40) for piece in reads._pieces()]
    assert sum(piece.nbytes for piece in pieces) == 40 << 20
    starts = {large.data_ptr(): large.nbytes, small.data_ptr(): small.nbytes}
    seen = set[int]()
    for piece in pieces:
        (start,) = (at for at in starts if 0 <= piece.data_ptr() - at < starts[at])
        assert piece.data_ptr() + piece.nbytes <= start + starts[start]
        assert piece.nbytes <= (1 << 20) // 8
        seen.add(start)
    assert large.data_ptr() in seen
    assert len({piece.data_ptr() for piece in pieces}) > 100
    read = list[int]()
    monkeypatch.setattr(ceilings, "load", lambda: None)
    monkeypatch.setattr(
        ceilings, "clock_seconds", lambda each, _: (each(), read.append(1), [0.5])[2]
    )
    assert reads.now() == 2 << 20
    assert read == [1]


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

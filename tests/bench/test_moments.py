"""What memory gives while a model decodes."""

from __future__ import annotations

import itertools

import pytest

from ossia.bench import moments
from ossia.bench.moments import Moments


def test_the_clock_stands_still_while_memory_is_read(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(moments.time, "perf_counter", lambda: now[0])

    def reads() -> float:
        now[0] += 50.0
        return 4e9

    beside = Moments(reads, every=3)
    seen = []
    for _ in range(5):
        now[0] += 1.0
        seen.append(beside.clock())
        beside.between_steps()
    assert seen == [101.0, 102.0, 103.0, 104.0, 105.0]
    assert now[0] == 100.0 + 5 + 2 * 50.0, "behind the first and the fourth step"


def test_as_many_bytes_at_every_moment():
    found = itertools.cycle([1e9, 3e9])
    beside = Moments(lambda: next(found), every=1)
    for _ in range(4):
        beside.between_steps()
    assert beside.bandwidth() == pytest.approx(1.5e9)

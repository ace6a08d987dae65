"""What a run came to: definitions by hand, totals against plain sums on random runs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ossia.bench.load_metrics import LoadMetrics
from ossia.bench.request_timing import RequestTiming


def timing(started: float, pieces: list[float], tokens: int, **more) -> RequestTiming:
    given = {"input_tokens": 10} | more
    return RequestTiming(started=started, pieces=pieces, output_tokens=tokens, **given)


def test_definitions():
    one = timing(1.0, [1.5, 1.7, 2.5], 6)
    assert one.ttft == pytest.approx(0.5)
    assert one.e2el == pytest.approx(1.5)
    assert one.tpot == pytest.approx((1.5 - 0.5) / 5)  # tokens, not pieces
    assert one.itls == pytest.approx([0.2, 0.8])


def test_what_did_not_come_has_no_time():
    none = timing(1.0, [], 0)
    assert (none.ttft, none.tpot, none.e2el, none.itls) == (None, None, None, [])
    single = timing(1.0, [2.0], 1)
    assert (single.ttft, single.tpot, single.itls) == (1.0, None, [])


def random_run(count: int) -> list[RequestTiming]:
    run = []
    for _ in range(count):
        start = random.uniform(0, 5)
        pieces = sorted(random.uniform(start, 10) for _ in range(random.randint(1, 30)))
        tokens = len(pieces) + random.randint(0, 9)
        run.append(timing(start, pieces, tokens, input_tokens=random.randint(1, 99)))
    return run


def test_totals_rates_and_distributions_on_a_random_run():
    run = random_run(200)
    failed = [RequestTiming(started=0.0, input_tokens=7, pieces=[1.0], error="no")] * 3
    found = LoadMetrics.of([*run, *failed], 10.0)
    assert (found.completed, found.failed, found.errors) == (200, 3, {"no": 3})
    inputs, outputs = (sum(getattr(one, name) for one in run) for name in ("input_tokens", "output_tokens"))  # fmt: skip
    assert (found.input_tokens, found.output_tokens) == (inputs, outputs)
    assert found.requests_per_second == 20
    assert found.input_tokens_per_second == pytest.approx(inputs / 10)
    assert found.output_tokens_per_second == pytest.approx(outputs / 10)
    assert found.total_tokens_per_second == pytest.approx((inputs + outputs) / 10)
    assert found.tokens_per_piece == pytest.approx(outputs / sum(len(one.pieces) for one in run))
    ttft = [(one.pieces[0] - one.started) * 1e3 for one in run]
    assert found.ttft_ms is not None
    assert found.ttft_ms.p99 == pytest.approx(np.percentile(ttft, 99))
    gaps = np.concatenate([np.diff(one.pieces) for one in run]) * 1e3
    assert found.itl_ms is not None
    assert found.itl_ms.mean == pytest.approx(gaps.mean())
    assert found.itl_ms.median == pytest.approx(np.median(gaps))
    e2el = [(one.pieces[-1] - one.started) * 1e3 for one in run]
    assert found.e2el_ms is not None
    assert found.e2el_ms.mean == pytest.approx(np.mean(e2el))


def test_the_peaks_against_counting():
    run = random_run(60)
    found = LoadMetrics.of(run, 10.0)
    starts = [one.started for one in run]
    open_then = [sum(one.started <= moment < one.pieces[-1] for one in run) for moment in starts]
    assert found.peak_concurrent_requests == max(open_then)
    begun = min(starts)
    seconds = [
        sum(
            one.output_tokens / len(one.pieces)
            for one in run
            for moment in one.pieces
            if second <= moment - begun < second + 1
        )
        for second in range(11)
    ]
    assert found.peak_output_tokens_per_second == pytest.approx(max(seconds))


def test_one_that_begins_when_another_ends_is_not_beside_it():
    run = [timing(0.0, [1.0], 1), timing(1.0, [2.0], 1), timing(2.0, [3.0], 1)]
    assert LoadMetrics.of(run, 3.0).peak_concurrent_requests == 1


def test_a_run_shorter_than_a_second_has_the_peak_of_its_length():
    found = LoadMetrics.of([timing(0.0, [0.1, 0.2], 2)], 0.25)
    assert found.peak_output_tokens_per_second == pytest.approx(8)


@pytest.mark.parametrize(
    ("thresholds", "good"),
    [
        ({}, None),
        ({"ttft": 500}, 2),
        ({"ttft": 499}, 1),
        ({"ttft": 500, "tpot": 99}, 1),
        ({"e2el": 100}, 0),
        ({"e2el": 1500.001, "tpot": 300}, 2),
    ],
)
def test_goodput(thresholds: dict[str, float], good: int | None):
    run = [
        timing(0.0, [0.5, 1.5], 11),  # ttft 500 ms, tpot 100, e2el 1500
        timing(0.0, [0.25], 1),  # one token has no time per token
        timing(0.0, [], 0),  # nothing came: never good
        RequestTiming(started=0.0, input_tokens=1, pieces=[0.1], output_tokens=1, error="no"),
    ]
    assert LoadMetrics.of(run, 2.0, thresholds).goodput == (None if good is None else good / 2)


def test_a_run_that_failed_whole():
    found = LoadMetrics.of([RequestTiming(started=0.0, input_tokens=5, error="no")], 1.0)
    assert (found.completed, found.output_tokens_per_second, found.ttft_ms) == (0, 0, None)
    assert (found.tokens_per_piece, found.peak_concurrent_requests) == (None, 0)

"""Prompts have their tokens, lengths their range, gaps their distribution."""

from __future__ import annotations

import math
import random
import statistics
from itertools import pairwise

import pytest

from ossia.bench.serve.thresholds import parse_thresholds
from ossia.bench.serve.workload import Workload, single_token_words
from ossia.errors import RequestError
from ossia.tokenizer import Tokenizer

SEED = random.randrange(10**6)


def workload(**changes) -> Workload:
    given = {"num_prompts": 5, "input_len": 40, "output_len": 10, "seed": SEED}
    return Workload(**given | changes)


def test_prompts_have_as_many_tokens_as_they_say():
    tokenizer = Tokenizer.o200k_harmony()
    found = workload(num_prompts=20, range_ratio=0.9).questions()
    assert len(found) == 20
    for question in found:
        assert len(tokenizer.encode(question.prompt)) == question.input_tokens


def test_there_are_many_words_and_each_is_a_token():
    words = single_token_words(Tokenizer.o200k_harmony())
    assert len(words) > 10_000
    assert len(set(words)) == len(words)
    tokenizer = Tokenizer.o200k_harmony()
    for word in random.sample(words, 200):
        assert len(tokenizer.encode(word)) == 1


def test_lengths_without_a_range_are_exact_and_with_one_fill_it():
    for question in workload().questions():
        assert (question.input_tokens, question.output_tokens) == (40, 10)
    found = workload(num_prompts=3000, range_ratio=0.5, input_len=8).questions()
    assert {question.input_tokens for question in found} == set(range(4, 13))
    assert {question.output_tokens for question in found} == set(range(5, 16))


def test_a_short_length_is_at_least_one():
    found = workload(num_prompts=200, range_ratio=0.9, input_len=1, output_len=2).questions()
    assert {question.input_tokens for question in found} == {1}
    assert {question.output_tokens for question in found} == {1, 2, 3}


def test_without_a_rate_all_are_sent_at_once():
    assert {question.at for question in workload().questions()} == {0.0}


def test_gaps_are_exponential():
    """Mean and standard deviation of an exponential distribution are both 1 / rate."""
    found = workload(num_prompts=4001, input_len=1, request_rate=50.0).questions()
    gaps = [later.at - earlier.at for earlier, later in pairwise(found)]
    assert found[0].at == 0
    # Five standard errors of either.
    assert abs(statistics.fmean(gaps) - 0.02) < 5 * 0.02 / math.sqrt(4000)
    assert abs(statistics.stdev(gaps) - 0.02) < 5 * 0.02 * math.sqrt(2 / 4000)
    assert abs(sum(gap > 0.02 for gap in gaps) / 4000 - math.exp(-1)) < 5 * 0.5 / math.sqrt(4000)


def test_a_seed_repeats_and_warm_ups_ask_something_else():
    assert workload().questions() == workload().questions()
    assert workload().questions() != workload(seed=SEED + 1).questions()
    warm_ups = workload().warm_ups(3)
    assert len(warm_ups) == 3
    assert not {one.prompt for one in warm_ups} & {one.prompt for one in workload().questions()}
    assert workload().warm_ups(0) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_prompts": 0}, "num-prompts"),
        ({"input_len": 0}, "input-len"),
        ({"output_len": -1}, "output-len"),
        ({"range_ratio": 1.0}, "range-ratio"),
        ({"range_ratio": -0.1}, "range-ratio"),
        ({"request_rate": 0.0}, "request-rate"),
        ({"request_rate": math.nan}, "request-rate"),
    ],
)
def test_what_makes_no_load_is_refused(changes: dict, field: str):
    with pytest.raises(RequestError, match=f"^{field}: "):
        workload(**changes)
    with pytest.raises(RequestError, match=r"^warm-ups: "):
        workload().warm_ups(-1)


def test_thresholds():
    assert parse_thresholds([]) == {}
    assert parse_thresholds(["ttft:500", "tpot:20.5 e2el:9000"]) == {
        "ttft": 500.0,
        "tpot": 20.5,
        "e2el": 9000.0,
    }
    for word in ("itl:5", "ttft", "ttft:", "ttft:x", "ttft:0", "ttft:-1", "ttft:nan"):
        with pytest.raises(RequestError, match=r"^goodput: "):
            parse_thresholds([word])
    with pytest.raises(RequestError, match="given twice"):
        parse_thresholds(["ttft:1", "ttft:2"])

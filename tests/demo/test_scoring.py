"""The scorer calls right what the generator says, and wrong what it does not; the splits hold."""

import re
from itertools import pairwise
from random import Random

import pytest
from demo.conversations import random_conversation
from demo.scoring import parse, plain_arithmetic, plain_calls, plain_counting, report, score
from demo.splits import split_of
from demo.tasks import arithmetic, calling
from demo.text import bare, decode, encode, spaced
from demo.toolbox import toolset
from demo.words import word_of
from hypothesis import given
from hypothesis import strategies as st

from ossia.tokenizer import special

SUITES = {
    "letters": lambda: plain_counting(12, 0),
    "sums": lambda: plain_arithmetic(12, 0),
    "everyday calls": lambda: plain_calls(12, 0, everyday=True),
    "any calls": lambda: plain_calls(12, 0, everyday=False),
}


@pytest.mark.parametrize("suite", SUITES)
def test_the_generators_own_replies_are_right(suite):
    conversations = SUITES[suite]()
    scores = [score(one, one.reply_ids()) for one in conversations]
    row = report({suite: scores})[suite]
    assert row["right"] == row["well_formed"] == 1.0
    assert row["analysis_low"] < row["analysis_medium"] < row["analysis_high"]


@pytest.mark.parametrize("suite", SUITES)
def test_a_neighbours_reply_is_right_only_if_its_answer_is_the_same(suite):
    for one, other in pairwise(SUITES[suite]()):
        found = score(one, other.reply_ids())
        assert found.well_formed
        assert found.right == (one.steps[-1].expected == other.steps[-1].expected)


def test_unfinished_and_misplaced_tokens_are_malformed():
    ids = plain_counting(1, 0)[0].reply_ids()
    assert parse(ids) is not None
    assert parse(ids[:-1]) is None
    assert parse([]) is None
    assert parse([*ids[:6], special.CALL, *ids[6:]]) is None


@given(seed=st.integers(0, 2**32))
def test_both_sides_of_the_split_stay_apart(seed):
    rng = Random(seed)
    for split in ("train", "test"):
        assert split_of(word_of(rng, split)) == split
        a, b = arithmetic.operands(rng, split, plus=True)
        assert split_of("+", a, b) == split
        for tool in toolset(rng, split):
            assert split_of(tool.noun.replace(" ", "_")) == split


@given(seed=st.integers(0, 2**32), split=st.sampled_from(["train", "test"]))
def test_calls_spell_the_tool_and_its_arguments(seed, split):
    tools, steps = calling.dialogue(Random(seed), split)
    for step in steps:
        if step.task == "call":
            call = step.reply("low").call
            assert decode(call.name_ids) == f".{step.expected[0]}"
            assert step.expected[0] in {tool.name for tool in tools}


@given(seed=st.integers(0, 2**32))
def test_sums_are_right_in_every_column(seed):
    step = random_conversation(Random(seed), "train", "arithmetic", "low").steps[-1]
    for left, result in re.findall(r"([\d+*-]+)=(\d+)", decode(step.reply("low").analysis)):
        terms = re.findall(r"[+-]?\d+", left)
        if "*" not in left:
            assert sum(map(int, terms)) == int(result) or left == result  # digits compared


@given(
    word=st.from_regex(r"[A-Za-z]{1,12}", fullmatch=True), prefix=st.sampled_from(["", " ", "'"])
)
def test_copies_keep_the_letters(word, prefix):
    ids = encode(prefix + word)
    if decode(ids[:1]) != prefix or not prefix:
        assert decode(bare(ids)) == word
        assert decode(spaced(ids)) == f" {word}"

"""What ends a continuation."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import ossia
from ossia.errors import RequestError
from ossia.tokenizer import Tokenizer

IDS = torch.tensor([[1, 2, 3], [3, 2, 1]])


def test_lengths_times_and_end_tokens():
    assert ossia.MaxLengthCriteria(3)(IDS, None).tolist() == [True, True]
    assert ossia.MaxLengthCriteria(4)(IDS, None).tolist() == [False, False]
    assert ossia.EosTokenCriteria(3)(IDS, None).tolist() == [True, False]
    assert ossia.EosTokenCriteria([3, 1])(IDS, None).tolist() == [True, True]
    assert ossia.EosTokenCriteria(torch.tensor([2]))(IDS, None).tolist() == [False, False]
    assert not ossia.MaxTimeCriteria(60)(IDS, None).any()
    assert ossia.MaxTimeCriteria(60, time.time() - 61)(IDS, None).all()


def test_lists_take_tensors_and_bools_and_ask_everybody():
    asked = []

    class Never(ossia.StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            asked.append(kwargs)
            return False

    criteria = ossia.StoppingCriteriaList([ossia.EosTokenCriteria(3), Never()])
    assert criteria(IDS, None, extra=1).tolist() == [True, False]
    assert asked == [{"extra": 1}]
    assert criteria.max_length is None
    assert ossia.StoppingCriteriaList([ossia.MaxLengthCriteria(7)]).max_length == 7


class Letters:
    """A tokenizer whose tokens are these strings of bytes."""

    def __init__(self, *tokens: bytes) -> None:
        self.tokens = tokens

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.tokens[one] for one in ids).decode("utf-8", "replace")


@given(
    st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=5),
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.text("ab\u20ac", min_size=1, max_size=3),
)
@example([b"a\xe2", b"\x82", b"\xac"], [0, 1, 2], "\u20ac")
@example([b"aba"], [0, 0], "ab")
def test_a_string_ends_where_its_last_byte_comes_up(tokens, text, stop):
    tokens = [*tokens, *[b"a"] * 5][:5]
    criterion = ossia.StopStringCriteria(Letters(*tokens), [stop])
    data = [tokens[one] for one in text]
    whole, before, want = b"".join(data), b"".join(data[:-1]), stop.encode()
    ends = [at + len(want) for at in range(len(whole)) if whole.startswith(want, at)]
    assert criterion.ends(text) == any(end > len(before) for end in ends)


def test_only_the_last_tokens_are_decoded():
    class Counts(Letters):
        longest = 0

        def decode(self, ids):
            self.longest = max(self.longest, len(ids))
            return super().decode(ids)

    tokenizer = Counts(b"a", b"b")
    criterion = ossia.StopStringCriteria(tokenizer, ["ab"])
    ids = torch.tensor([[0] * 999 + [1], [1] * 1000])
    assert criterion(ids, None).tolist() == [True, False]
    assert tokenizer.longest < 10


@pytest.mark.parametrize("bad", ["", [], [""], [3]])
def test_stop_strings_are_strings(bad):
    with pytest.raises(RequestError, match="stop_strings"):
        ossia.StopStringCriteria(Letters(b"a"), bad)


def test_real_tokens():
    tokenizer = Tokenizer.o200k_harmony()
    text = "One, two. And three!"
    ids = tokenizer.encode(text)
    for stop in ("two", ". A", "ree!", "o. And t", "never"):
        criterion = ossia.StopStringCriteria(tokenizer, stop)
        first = next((n for n in range(1, len(ids) + 1) if criterion.ends(ids[:n])), None)
        expected = next(
            (n for n in range(1, len(ids) + 1) if stop in tokenizer.decode(ids[:n])), None
        )
        assert first == expected


def test_bases_are_abstract():
    with pytest.raises(NotImplementedError):
        ossia.StoppingCriteria()(IDS, None)
    with pytest.raises(NotImplementedError):
        ossia.LogitsProcessor()(IDS, torch.zeros(2, 3))

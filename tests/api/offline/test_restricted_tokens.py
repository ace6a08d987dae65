"""RestrictedTokens against a plain search through the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.api.offline.restricted_tokens import RestrictedTokens, bad_sequences
from ossia.errors import RequestError
from support.scripted_engine import TOKENIZER

IDS = st.integers(0, 5)


def _is_in(mask: bytes, token_id: int) -> bool:
    return bool(mask[token_id // 8] >> token_id % 8 & 1)


@given(
    st.none() | st.lists(IDS, min_size=1),
    st.lists(st.lists(IDS, min_size=1, max_size=3), max_size=3),
    st.lists(IDS, max_size=8),
)
def test_what_is_allowed_after_any_text(
    allowed: list[int] | None, bad: list[list[int]], text: list[int]
):
    mask = RestrictedTokens(allowed, bad)
    for place in range(len(text) + 1):
        found = mask.allowed()
        for token_id in range(7):
            written = [*text[:place], token_id]
            expected = allowed is None or token_id in allowed
            expected &= not any(written[-len(words) :] == words for words in bad)
            assert _is_in(found, token_id) == expected
        if place < len(text):
            mask.accept(text[place])


def test_words_are_ruled_out_with_and_without_a_space():
    found = bad_sequences(TOKENIZER, ["hello", " 1"])
    assert found[:2] == [TOKENIZER.encode("hello"), TOKENIZER.encode(" hello")]
    assert found[2:] == [TOKENIZER.encode("1"), TOKENIZER.encode(" 1")]


def test_ids_must_be_ids():
    for wrong in (-1, 201_088, "x"):
        with pytest.raises(RequestError, match="allowed_token_ids"):
            RestrictedTokens([wrong], [])  # type: ignore[list-item]

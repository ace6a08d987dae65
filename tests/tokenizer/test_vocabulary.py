"""The packed vocabulary is the published one, and so is the tokenizer.json made from it."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from ossia.tokenizer import vocabulary
from ossia.tokenizer.byte_level import ALPHABET, to_bytes, to_characters
from support.vocabulary import tiktoken_file

PUBLISHED_TIKTOKEN = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
PUBLISHED_JSON = "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"


def test_the_vocabulary_is_the_published_one() -> None:
    assert hashlib.sha256(tiktoken_file()).hexdigest() == PUBLISHED_TIKTOKEN


def test_the_tokenizer_json_is_that_of_the_checkpoints(published: bytes) -> None:
    assert len(published) == 27_868_174
    assert hashlib.sha256(published).hexdigest() == PUBLISHED_JSON


def test_both_forms_of_the_tokens_agree() -> None:
    texts = vocabulary.token_texts()
    assert [to_bytes(text) for text in texts] == list(vocabulary.token_bytes())
    assert len(texts) == 199_998
    assert len(vocabulary.merges_of(texts)) == 446_189


def _last_merge(token: str, ranks: dict[tuple[str, str], int]) -> tuple[str, ...]:
    """The two parts that remain when a token's bytes are merged, the pair of lowest rank first."""
    parts = list(token)
    while len(parts) > 2:
        pairs = list(itertools.pairwise(parts))
        place = min(range(len(pairs)), key=lambda one: (ranks.get(pairs[one], 1 << 30), one))
        assert pairs[place] in ranks, "no token is out of reach"
        parts[place : place + 2] = ["".join(pairs[place])]
    return tuple(parts)


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_the_merges_that_happen_are_those_of_each_token_alone(step: int) -> None:
    texts = vocabulary.token_texts()
    happen = vocabulary.merges_that_happen(texts)
    assert ["".join(pair) for pair in happen] == texts[256:]
    ranks = {
        (texts[left], texts[right]): rank
        for rank, (left, right) in enumerate(vocabulary.merges_of(texts))
    }
    for token, pair in list(zip(texts[256:], happen, strict=True))[::step]:
        assert _last_merge(token, ranks) == pair
        assert pair in ranks


def test_the_byte_alphabet_is_one_to_one() -> None:
    every_byte = bytes(range(256))
    assert len(set(ALPHABET)) == 256
    assert to_bytes(to_characters(every_byte)) == every_byte

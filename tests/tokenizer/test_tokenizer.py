"""Ids equal tiktoken's on any text; special tokens appear only where they were asked for."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.errors import CheckpointError, RequestError
from ossia.tokenizer import Tokenizer, special

characters = st.characters(exclude_categories=["Cs"])
texts = st.one_of(
    st.text(characters),
    st.text("aA1 \n\r\t'sStT.,/<|>end\u00a0\u0301", max_size=60),
    st.lists(st.sampled_from([*special.SPECIAL_TOKENS.values()][:25]), max_size=4).map("x".join),
)


@settings(max_examples=300)
@given(texts)
def test_ids_equal_tiktoken(packaged: Tokenizer, oracle: tiktoken.Encoding, text: str) -> None:
    ids = packaged.encode(text)
    assert ids == oracle.encode_ordinary(text)
    assert packaged.decode(ids) == text
    assert not any(map(special.is_special, ids))


def test_every_kind_of_character_is_cut_as_tiktoken_cuts_it(
    packaged: Tokenizer, oracle: tiktoken.Encoding
) -> None:
    """Each in a setting in which its class matters; a sample over all planes."""
    points = [*range(0x3000), *range(0x3000, 0x110000, 61)]
    for point in points:
        if not 0xD800 <= point < 0xE000:
            text = f"a{chr(point)}B {chr(point) * 2}1"
            assert packaged.encode(text) == oracle.encode_ordinary(text)


@settings(max_examples=100)
@given(texts)
def test_a_folder_gives_the_same_ids(
    packaged: Tokenizer, from_folder: Tokenizer, text: str
) -> None:
    assert from_folder.encode(text) == packaged.encode(text)


@pytest.fixture(scope="module")
def from_folder(folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(folder)


def test_a_folder_gives_the_same_bytes(packaged: Tokenizer, from_folder: Tokenizer) -> None:
    for token_id in [*range(0, special.VOCAB_SIZE, 97), *range(199_990, 200_030)]:
        assert from_folder.token_bytes(token_id) == packaged.token_bytes(token_id)


@settings(max_examples=200)
@given(texts)
def test_trusted_text_yields_special_tokens(
    packaged: Tokenizer, oracle: tiktoken.Encoding, text: str
) -> None:
    assert packaged.encode_with_special(text) == oracle.encode(
        text, allowed_special=oracle.special_tokens_set, disallowed_special=()
    )


def test_known_ids(packaged: Tokenizer) -> None:
    assert packaged.vocab_size == 201_088
    assert packaged.encode("hello world") == [24912, 2375]
    assert packaged.encode_with_special("<|start|>assistant<|channel|>final<|message|>") == [
        *(special.START, 173781, special.CHANNEL, 17196, special.MESSAGE)
    ]
    assert packaged.decode([special.START, 173781, 201_087]) == (
        "<|start|>assistant<|reserved_201087|>"
    )
    assert packaged.decode([special.START, 173781, special.END], skip_special=True) == "assistant"


def test_lone_surrogates_become_replacement_characters(packaged: Tokenizer) -> None:
    assert packaged.decode(packaged.encode("a\ud83d\ude00b\ud800")) == "a😀b�"


def test_decoding_follows_the_error_handler(packaged: Tokenizer) -> None:
    half = packaged.encode("🫠")[:-1]
    assert packaged.decode(half) == "�"
    assert packaged.decode(half, errors="ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        packaged.decode(half, errors="strict")


@pytest.mark.parametrize("token_id", [-1, 201_088, 2**32 - 1])
def test_ids_outside_the_vocabulary_are_refused(packaged: Tokenizer, token_id: int) -> None:
    with pytest.raises(RequestError, match="not between 0 and 201087"):
        packaged.decode([token_id])


def test_threads_share_one_tokenizer(packaged: Tokenizer) -> None:
    samples = [f"thread {number} says <|end|> 🫠 " * 20 for number in range(64)]
    expected = [packaged.encode(text) for text in samples]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(packaged.encode, samples)) == expected
        assert list(pool.map(packaged.decode, expected)) == samples


def test_the_published_file_is_known_without_parsing(
    packaged: Tokenizer, published: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(published)
    assert Tokenizer.from_folder(tmp_path) is packaged
    file.write_bytes(published[:-2] + b"]\n")  # as long, and damaged
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        Tokenizer.from_folder(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not found"):
        Tokenizer.from_folder(tmp_path)


BAD_FILES = {
    "empty": ("", "not a tokenizer"),
    "no JSON": ("{", "not a tokenizer"),
    "another model's": (
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
            }
        ),
        r"token 200002 is None, not '<\|return\|>'",
    ),
    "harmony tokens on another vocabulary": (
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [
                    {
                        "id": token_id,
                        "content": content,
                        "single_word": False,
                        "lstrip": False,
                        "rstrip": False,
                        "normalized": False,
                        "special": True,
                    }
                    for token_id, content in special.SPECIAL_TOKENS.items()
                    if token_id <= special.LAST_LISTED
                ],
                "model": {
                    "type": "BPE",
                    "vocab": {
                        "a": 0,
                        **{
                            content: token_id
                            for token_id, content in special.SPECIAL_TOKENS.items()
                            if token_id <= special.LAST_LISTED
                        },
                    },
                    "merges": [],
                },
            }
        ),
        "ordinary tokens",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named(tmp_path: Path, case: str) -> None:
    content, complaint = BAD_FILES[case]
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        Tokenizer.from_folder(tmp_path)
    assert "tokenizer.json" in str(caught.value)

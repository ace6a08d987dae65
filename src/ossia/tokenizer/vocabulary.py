"""The o200k_base vocabulary that ships with the package, and the tokenizer.json made from it.

A tokenizer.json lists merges: for every token each way to split it into two shorter tokens, which
is what byte-pair encoding by rank amounts to. But only one merge a token can ever happen. Two
neighbours become token T only if all merges before were inside the bytes of T, and those are, in
this order, the ones that T alone would see: the cheapest pair first, the leftmost of equals. So the
last two parts are those of T encoded alone, and where they meet is stored, one byte a token. It
takes less than half the time to make a tokenizer from these merges.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ossia.tokenizer.byte_level import ALPHABET, to_characters
from ossia.tokenizer.packed_bytes import PackedBytes
from ossia.tokenizer.special import LAST_LISTED, SPECIAL_TOKENS

SPLIT_PATTERN: Final = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
"""How text is cut into words before merging; a fact of the o200k vocabulary."""

_PUBLISHED_BYTES: Final = 27_868_174
_PUBLISHED_SHA256: Final = "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"

_PACKED: Final = "o200k_base.xz"
_PACKED_CUTS: Final = "o200k_base_cuts.xz"
_SEPARATOR: Final = b"\xff"  # no token of two bytes or more contains it


@cache
def token_bytes() -> PackedBytes:
    """The bytes of each of the 199,998 ordinary tokens, by id."""
    single, rest = _unpacked()
    return PackedBytes([*(bytes([byte]) for byte in single), *rest.split(_SEPARATOR)])


def token_texts() -> list[str]:
    """The same tokens in the byte-level alphabet, by id."""
    single, rest = _unpacked()
    words = to_characters(rest).split(ALPHABET[_SEPARATOR[0]])
    return [*to_characters(single), *words]


def merges_of(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Every pair of tokens that makes up a third, in the order in which gpt-oss lists them.

    Args:
        tokens: The vocabulary in the byte-level alphabet, by rank.

    Returns:
        Pairs of ranks, ordered by the rank of the whole, then of the left part, then of the right.
    """
    rank_of = {token: rank for rank, token in enumerate(tokens)}.get
    merges: list[tuple[int, int]] = []
    for token in tokens:
        splits = [
            (left, right)
            for cut in range(1, len(token))
            if (left := rank_of(token[:cut])) is not None
            and (right := rank_of(token[cut:])) is not None
        ]
        if len(splits) > 1:
            splits.sort()
        merges += splits
    return merges


def merges_that_happen(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """The merges of which encoding makes use, one for each token of two bytes or more.

    Args:
        tokens: The vocabulary in the byte-level alphabet, by rank.

    Returns:
        Pairs of tokens, ordered by the rank of the whole.
    """
    cuts = lzma.decompress(_resource(_PACKED_CUTS))
    return [(token[:cut], token[cut:]) for token, cut in zip(tokens[256:], cuts, strict=True)]


def is_published(file: Path) -> bool:
    """Whether a tokenizer.json is, byte for byte, what `tokenizer_json` gives.

    Raises:
        OSError: the file cannot be read.
    """
    if file.stat().st_size != _PUBLISHED_BYTES:
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == _PUBLISHED_SHA256


def tokenizer_json() -> bytes:
    """The tokenizer.json of gpt-oss, byte for byte as the published checkpoints hold it."""
    tokens = token_texts()
    # One call quotes them all; a quoted token holds no line break.
    quoted = json.dumps(tokens, ensure_ascii=False, separators=("\n", ":"))[1:-1].split("\n")
    vocab = ",\n".join([f"      {text}: {rank}" for rank, text in enumerate(quoted)])
    merges = ",\n".join(
        [
            f"      [\n        {quoted[left]},\n        {quoted[right]}\n      ]"
            for left, right in merges_of(tokens)
        ]
    )
    frame = json.dumps(_frame(), indent=2, ensure_ascii=False)
    filled = frame.replace('"vocab": {}', f'"vocab": {{\n{vocab}\n    }}').replace(
        '"merges": []', f'"merges": [\n{merges}\n    ]'
    )
    return filled.encode()


@cache
def _unpacked() -> tuple[bytes, bytes]:
    """The single-byte tokens, and the separated rest."""
    plain = lzma.decompress(_resource(_PACKED))
    return plain[:256], plain[256:]


def _resource(name: str) -> bytes:
    return files("ossia.tokenizer").joinpath(name).read_bytes()


def _frame() -> dict[str, Any]:
    """Everything of the tokenizer.json but its two long lists."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
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
            for token_id, content in SPECIAL_TOKENS.items()
            if token_id <= LAST_LISTED
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": SPLIT_PATTERN},
                    "behavior": "Isolated",
                    "invert": False,
                },
                _byte_level(add_prefix_space=False, trim_offsets=True, use_regex=False),
            ],
        },
        "post_processor": _byte_level(add_prefix_space=True, trim_offsets=False, use_regex=True),
        "decoder": _byte_level(add_prefix_space=True, trim_offsets=True, use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {},
            "merges": [],
        },
    }


def _byte_level(**settings: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", **settings}

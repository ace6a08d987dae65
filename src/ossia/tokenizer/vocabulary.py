"""The o200k_base vocabulary that ships with the package, and the tokenizer.json made from it.

Only ranks are stored. A tokenizer.json also lists merges: for every token each way to split it
into two shorter tokens, which is what byte-pair encoding by rank amounts to.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from ossia.tokenizer.byte_level import ALPHABET, to_characters
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

_PACKED: Final = "o200k_base.xz"
_SEPARATOR: Final = b"\xff"  # no token of two bytes or more contains it


@cache
def token_bytes() -> tuple[bytes, ...]:
    """The bytes of each of the 199,998 ordinary tokens, by id."""
    single, rest = _unpacked()
    return (*(bytes([byte]) for byte in single), *rest.split(_SEPARATOR))


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
    packed = files("ossia.tokenizer").joinpath(_PACKED).read_bytes()
    plain = lzma.decompress(packed)
    return plain[:256], plain[256:]


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

"""The special tokens of o200k_harmony and the size of its id space. No text processing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VOCAB_SIZE: Final = 201_088
"""Rows of the model's embedding: every id is below this, though not every id is ever produced."""

FIRST_SPECIAL: Final = 199_998
"""Ids below this are ordinary tokens, ids from here on are special."""

STARTOFTEXT: Final = 199_998
ENDOFTEXT: Final = 199_999
RETURN: Final = 200_002
CONSTRAIN: Final = 200_003
CHANNEL: Final = 200_005
START: Final = 200_006
END: Final = 200_007
MESSAGE: Final = 200_008
CALL: Final = 200_012
ENDOFPROMPT: Final = 200_018

LAST_LISTED: Final = 200_018
"""The tokenizer.json of gpt-oss names the special tokens up to here; the rest are unused rows."""

_NAMED: Final[Mapping[int, str]] = {
    STARTOFTEXT: "<|startoftext|>",
    ENDOFTEXT: "<|endoftext|>",
    RETURN: "<|return|>",
    CONSTRAIN: "<|constrain|>",
    CHANNEL: "<|channel|>",
    START: "<|start|>",
    END: "<|end|>",
    MESSAGE: "<|message|>",
    CALL: "<|call|>",
    ENDOFPROMPT: "<|endofprompt|>",
}

SPECIAL_TOKENS: Final[Mapping[int, str]] = {
    token_id: _NAMED.get(token_id, f"<|reserved_{token_id}|>")
    for token_id in range(FIRST_SPECIAL, VOCAB_SIZE)
}
"""Every special id with its text, in order of id."""

STOP_TOKENS: Final = frozenset({RETURN, END, CALL})
"""Tokens that end a harmony message."""

ACTION_STOP_TOKENS: Final = frozenset({RETURN, CALL})
"""Tokens at which an assistant hands over: the answer is complete, or a tool is to run."""


def is_special(token_id: int) -> bool:
    """Whether this id stands for a special token rather than for text."""
    return token_id >= FIRST_SPECIAL

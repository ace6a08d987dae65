"""LogprobCollector: which tokens make up the text of the answer, and how likely they were."""

from __future__ import annotations

import math
from typing import Any, Final

from ossia.api.events import TokenDrawn
from ossia.tokenizer import Tokenizer, special

JsonObject = dict[str, Any]

_LEAST: Final = -9999.0  # stands for minus infinity, which JSON cannot hold


class LogprobCollector:
    """Keeps tokens of contents until the text that they belong to comes.

    A token may give no text of its own (a part of a character, the beginning of a stop string);
    it goes with the next text.

    Args:
        tokenizer: Gives tokens their text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._is_content = False
        self._waiting: list[TokenDrawn] = []

    def push(self, drawn: TokenDrawn) -> None:
        """Take in a token."""
        if special.is_special(drawn.token_id):
            self._is_content = drawn.token_id == special.MESSAGE
            if self._is_content:
                self._waiting.clear()
        elif self._is_content and drawn.logprob is not None:
            self._waiting.append(drawn)

    def take(self) -> list[JsonObject]:
        """The tokens since the last text, as clients get them."""
        taken, self._waiting = self._waiting, []
        return [self._object(drawn) for drawn in taken]

    def drop(self) -> None:
        """Forget the tokens since the last text: they belong to something else."""
        self._waiting.clear()

    def _object(self, drawn: TokenDrawn) -> JsonObject:
        assert drawn.logprob is not None, "others are not kept"
        top = [self._entry(token_id, logprob) for token_id, logprob in drawn.logprob.top]
        return {**self._entry(drawn.token_id, drawn.logprob.logprob), "top_logprobs": top}

    def _entry(self, token_id: int, logprob: float) -> JsonObject:
        known = 0 <= token_id < self._tokenizer.vocab_size
        raw = self._tokenizer.token_bytes(token_id) if known else b""
        return {
            "token": raw.decode("utf-8", "replace"),
            "bytes": list(raw),
            "logprob": logprob if math.isfinite(logprob) else _LEAST,
        }

"""Log-probabilities of the answer's tokens, as the APIs show them."""

from __future__ import annotations

import math
from typing import Any

from ossia.api.events import TokenDrawn
from ossia.tokenizer import Tokenizer, special
from ossia.types import TokenLogprob

_UNLIKELY = -9999.0  # what the hosted API has in place of minus infinity


class AnswerTokens:
    """Tells which drawn tokens make the text of the answer; headers and reasoning do not.

    Tokens are drawn before it is known what they bring about, and several of them may make one
    piece of text.
    """

    def __init__(self) -> None:
        self._pending: list[TokenDrawn] = []

    def drawn(self, token: TokenDrawn) -> None:
        """A token was drawn."""
        if token.token_id == special.MESSAGE:
            self._pending.clear()
        elif not special.is_special(token.token_id):
            self._pending.append(token)

    def take(self) -> list[TokenDrawn]:
        """The tokens since the last text, now that text of the answer has come."""
        taken, self._pending = self._pending, []
        return taken

    def drop(self) -> None:
        """They were something else."""
        self._pending.clear()


def logprob_entry(tokenizer: Tokenizer, logprob: TokenLogprob) -> dict[str, Any]:
    """`{token, logprob, bytes, top_logprobs}` of one token."""
    top = [_entry(tokenizer, token_id, value) for token_id, value in logprob.top]
    return {**_entry(tokenizer, logprob.token_id, logprob.logprob), "top_logprobs": top}


def finite(value: float) -> float:
    """A log-probability that JSON can hold."""
    return value if math.isfinite(value) else _UNLIKELY


def _entry(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    raw = tokenizer.token_bytes(token_id)
    return {"token": raw.decode(errors="replace"), "logprob": finite(logprob), "bytes": list(raw)}

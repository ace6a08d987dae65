"""Log-probabilities of the answer's text."""

from __future__ import annotations

from typing import Any

from ossia.api.events import TokenDrawn
from ossia.server.logprobs import AnswerTokens, logprob_entry
from ossia.tokenizer import Tokenizer

JsonObject = dict[str, Any]


class LogprobCollector:
    """Keeps tokens until the text that they belong to comes.

    Args:
        tokenizer: Gives tokens their text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens = AnswerTokens()

    def push(self, drawn: TokenDrawn) -> None:
        """Take in a token."""
        self._tokens.drawn(drawn)

    def take(self) -> list[JsonObject]:
        """The tokens since the last text, as clients get them."""
        return [
            logprob_entry(self._tokenizer, drawn.logprob)
            for drawn in self._tokens.take()
            if drawn.logprob is not None
        ]

    def drop(self) -> None:
        """Forget the tokens since the last text: they belong to something else."""
        self._tokens.drop()

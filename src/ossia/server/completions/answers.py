"""What text completions answer: described here, made by `choice` and `routes`."""

from __future__ import annotations

from typing import Literal

from ossia.server.chat.answers import Usage
from ossia.server.openapi.answers import AnswerModel


class TokenTable(AnswerModel):
    """A row for each token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(AnswerModel):
    """One continuation."""

    index: int
    text: str
    logprobs: TokenTable | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(AnswerModel):
    """All continuations; those of a prompt stand together."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage

"""CompletionRequest: the body of a text completion."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ossia.server.chat.schemas import StreamOptions
from ossia.server.sampling_fields import SamplingFields

MAX_TOKENS = 2**20
"""Of a prompt in token ids; no gpt-oss model takes as many."""

TokenIds = Annotated[list[int], Field(max_length=MAX_TOKENS)]


class CompletionRequest(SamplingFields):
    """A prompt that is to be gone on with.

    `allow_special` makes names of special tokens in the prompt's text these tokens;
    `skip_special_tokens` leaves them out of the output's text, which is the default. `user` is for
    the hosted service.
    """

    model: str | None = None
    prompt: str | list[str] | TokenIds | list[TokenIds] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    allow_special: bool | None = None
    skip_special_tokens: bool | None = None
    user: str | None = None
    response_format: dict[str, Any] | None = None

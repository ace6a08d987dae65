"""What the Messages API answers: described here, made by `fold` and `routes`."""

from __future__ import annotations

from typing import Any, Literal

from ossia.server.openapi.answers import AnswerModel


class TextBlock(AnswerModel):
    """Words to the user."""

    type: Literal["text"]
    text: str


class ThinkingBlock(AnswerModel):
    """What the model thought."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseBlock(AnswerModel):
    """The model wants a tool called."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class MessageUsage(AnswerModel):
    """Token counts."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class AnsweredMessage(AnswerModel):
    """What the model says."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    stop_reason: Literal["end_turn", "max_tokens", "tool_use", "stop_sequence"]
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(AnswerModel):
    """How long a prompt is."""

    input_tokens: int


class MessagesErrorDetails(AnswerModel):
    """Why a request was refused."""

    type: str
    message: str


class MessagesError(AnswerModel):
    """A refusal, in Anthropic's shape."""

    type: Literal["error"]
    error: MessagesErrorDetails

"""What chat completions answer: described here, made by `completion`, `choice` and `stored_routes`."""

from __future__ import annotations

from typing import Any, Literal

from ossia.server.openapi.answers import AnswerModel, EchoModel


class PromptDetails(AnswerModel):
    """What of the prompt was known already."""

    cached_tokens: int


class CompletionDetails(AnswerModel):
    """What of the output was reasoning."""

    reasoning_tokens: int


class Usage(AnswerModel):
    """Token counts of all choices together; a prompt counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class CalledFunction(AnswerModel):
    """A function and its arguments, as JSON text."""

    name: str
    arguments: str


class CalledTool(AnswerModel):
    """A tool of free text and its input."""

    name: str
    input: str


class FunctionToolCall(AnswerModel):
    """The model wants a function called."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class CustomToolCall(AnswerModel):
    """The model wants a tool of free text called."""

    id: str
    type: Literal["custom"]
    custom: CalledTool


class AnswerMessage(AnswerModel):
    """What the model says; its reasoning stands under both names that clients have for it."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    annotations: list[Any]
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[FunctionToolCall | CustomToolCall] | None = None
    function_call: CalledFunction | None = None


class TopLogprob(AnswerModel):
    """A token that was likely."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token that was drawn."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(AnswerModel):
    """Log-probabilities of the answer's tokens."""

    content: list[TokenLogprob]
    refusal: None


class ChatChoice(AnswerModel):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "function_call"]


class ChatCompletion(AnswerModel):
    """All answers; `metadata` is there only where it is stored."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["default"] | None = None
    choices: list[ChatChoice]
    usage: Usage
    metadata: dict[str, str] | None = None


class DeletedChat(AnswerModel):
    """A completion that is no longer stored."""

    id: str
    object: Literal["chat.completion.deleted"]
    deleted: Literal[True]


class StoredMessage(EchoModel):
    """A message of the request, with its content as text and in parts."""

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None

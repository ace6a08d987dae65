"""What the Responses API answers: described here, made by `objects`, `fold` and `stored_routes`."""

from __future__ import annotations

from typing import Any, Literal

from ossia.server.chat.answers import TokenLogprob
from ossia.server.openapi.answers import AnswerModel, EchoModel

_ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(AnswerModel):
    """A piece of text."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob]


class OutputMessage(AnswerModel):
    """Words to the user; `commentary` comes before a call."""

    id: str
    type: Literal["message"]
    status: _ItemStatus
    role: Literal["assistant"]
    phase: Literal["commentary", "final_answer"]
    content: list[OutputText]


class ReasoningText(AnswerModel):
    """What the model thought, in full."""

    type: Literal["reasoning_text"]
    text: str


class SummaryText(AnswerModel):
    """The same as a summary."""

    type: Literal["summary_text"]
    text: str


class OutputReasoning(AnswerModel):
    """What the model thought; `encrypted_content` is there only where it is asked for."""

    id: str
    type: Literal["reasoning"]
    status: _ItemStatus
    summary: list[SummaryText]
    content: list[ReasoningText]
    encrypted_content: str | None = None


class OutputFunctionCall(AnswerModel):
    """The model wants a function called; `arguments` is JSON text."""

    id: str
    type: Literal["function_call"]
    status: _ItemStatus
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class OutputCustomCall(AnswerModel):
    """The model wants a tool of free text called."""

    id: str
    type: Literal["custom_tool_call"]
    status: _ItemStatus
    call_id: str
    name: str
    input: str
    namespace: str | None = None


class OutputSearchCall(AnswerModel):
    """The model searched the web, opened a page or looked for something in it."""

    id: str
    type: Literal["web_search_call"]
    status: Literal["in_progress", "searching", "completed", "failed", "incomplete"]
    action: dict[str, Any]


class CachedTokens(AnswerModel):
    """What of the prompt was known already, and what is kept for the next time."""

    cached_tokens: int
    cache_write_tokens: int


class ReasoningTokens(AnswerModel):
    """What of the output was reasoning."""

    reasoning_tokens: int


class ResponseUsage(AnswerModel):
    """Token counts."""

    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class ResponseFailure(AnswerModel):
    """Why a response failed."""

    code: str
    message: str


class IncompleteDetails(AnswerModel):
    """Why a response was cut off."""

    reason: Literal["max_output_tokens"]


class ConversationId(AnswerModel):
    """The conversation that a response belongs to."""

    id: str


class Response(AnswerModel):
    """A response; what was asked stands in it again, as it was understood."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[
        OutputMessage | OutputReasoning | OutputFunctionCall | OutputCustomCall | OutputSearchCall
    ]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, str | None]
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None
    metadata: dict[str, str]
    conversation: ConversationId | None = None
    prompt_cache_retention: str | None = None


class DeletedResponse(AnswerModel):
    """A response that is no longer stored."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputTokens(AnswerModel):
    """How long a prompt is."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class StoredItem(EchoModel):
    """An item as it was sent, with an id and a type."""

    id: str
    type: str


class Compaction(AnswerModel):
    """A conversation made short: its instructions, what users said, and the rest as a sealed summary."""

    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[StoredItem]
    usage: ResponseUsage

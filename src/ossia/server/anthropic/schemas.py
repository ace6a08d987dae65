"""The bodies of /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ossia.server.anthropic.blocks import Block
from ossia.server.body import RequestModel
from ossia.server.cache_salt import CacheSalt
from ossia.server.chat.schemas import MAX_MESSAGES
from ossia.server.openapi.described import DescribedAs

Blocks = str | Annotated[list[dict[str, Any]], DescribedAs(list[Block])]


class MessageParam(RequestModel):
    """What somebody said; blocks are read one by one by `intake`."""

    role: Literal["user", "assistant", "system"]
    content: Blocks


class ToolParam(RequestModel):
    """A tool: the client's own, or one that Anthropic runs or has defined."""

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    input_examples: list[dict[str, Any]] | None = None
    strict: bool | None = None
    allowed_callers: list[str] | None = None
    # hints: it is offered at once, arguments are streamed anyway, and the cache needs no marks
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    cache_control: dict[str, Any] | None = None


class ToolChoice(RequestModel):
    """Whether and what the model must call. It calls one tool at a time in any case."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(RequestModel):
    """Whether the model thinks before it answers, and how long."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputConfig(RequestModel):
    """How much the model puts into the answer, and the answer's form."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: dict[str, Any] | None = None


class CountTokens(RequestModel):
    """What determines a prompt."""

    model: str | None = None
    messages: Annotated[list[MessageParam], Field(max_length=MAX_MESSAGES)]
    system: Blocks | None = None
    tools: list[ToolParam] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: dict[str, Any] | None = None  # the prefix cache needs no marks


class CreateMessage(CountTokens):
    """A prompt, and how to go on from it."""

    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: int | None = None
    # about accounts and capacity of the hosted service
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard", "fast"] | None = None
    diagnostics: dict[str, Any] | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None
    # refused by name
    container: Any = None
    inference_geo: Any = None
    # beyond Anthropic's API
    cache_salt: CacheSalt | None = None

"""ChatRequest: the body of a chat completion, every field of the hosted API among it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ossia.server.body import RequestModel
from ossia.server.chat.message_schemas import ChatMessageParam
from ossia.server.chat.tool_schemas import ChatTool, ChatToolChoice
from ossia.server.metadata import Metadata
from ossia.server.openapi.described import DescribedAs
from ossia.server.responses.schemas import SchemaName, ServiceTier
from ossia.server.responses.tool_schemas import ToolName
from ossia.server.sampling_fields import SamplingFields

MAX_MESSAGES = 2**16
"""Of a chat; even empty ones would not fit into the context of any gpt-oss model."""


class StreamOptions(RequestModel):
    """How a stream is to be; `include_obfuscation` asks for padding, of which there is none."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None


class NamedSchema(RequestModel):
    """A JSON schema that the answer must match."""

    name: SchemaName
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class GrammarText(RequestModel):
    """A grammar that the answer must match."""

    definition: str
    syntax: Literal["lark", "regex"]


class ResponseFormat(RequestModel):
    """What the answer must look like; `regex` and `grammar` are extensions."""

    type: Literal["text", "json_object", "json_schema", "regex", "grammar"]
    json_schema: NamedSchema | None = None
    pattern: str | None = None
    grammar: GrammarText | None = None


class FunctionDefinition(RequestModel):
    """A function, as it was offered before there were tools."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None


class NamedFunction(RequestModel):
    """The one function that is to be called."""

    name: str


class ChatRequest(SamplingFields):
    """A chat that is to be answered.

    `user`, `safety_identifier`, the `prompt_cache_...` fields and `prediction` are for the hosted
    service or only hints, and are taken without effect; docs/server_fields.md judges each.
    """

    model: str | None = None
    messages: Annotated[list[ChatMessageParam], Field(min_length=1, max_length=MAX_MESSAGES)]

    tools: Annotated[list[dict[str, Any]], DescribedAs(list[ChatTool])] | None = None
    tool_choice: Annotated[str | dict[str, Any], DescribedAs(ChatToolChoice)] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = None
    function_call: Literal["none", "auto"] | NamedFunction | None = None

    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    verbosity: Literal["low", "medium", "high"] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None

    store: bool | None = None
    metadata: Metadata | None = None
    service_tier: ServiceTier | None = None

    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    prediction: dict[str, Any] | None = None

    audio: dict[str, Any] | None = None
    modalities: list[str] | None = None
    moderation: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None

"""ResponseRequest: the body of POST /v1/responses, every field of it.

Items and tools stay raw here; `items` and `tools` read them, each of its own kind.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ossia.server.body import RequestModel
from ossia.server.cache_salt import CacheSalt
from ossia.server.metadata import Metadata
from ossia.server.openapi.described import DescribedAs
from ossia.server.responses.items import InputItem
from ossia.server.responses.tool_schemas import ResponseTool, ResponseToolChoice

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Summary = Literal["auto", "concise", "detailed"]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]
Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
SchemaName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ReasoningParam(RequestModel):
    """How to think, and what of it to show."""

    effort: Effort | None = None
    summary: Summary | None = None
    generate_summary: Summary | None = None  # the older name
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None

    @property
    def wanted_summary(self) -> Summary | None:
        """The summary that is asked for, under either name."""
        return self.summary or self.generate_summary


class PlainFormat(RequestModel):
    """The answer is any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    """The answer is a JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(RequestModel):
    """The answer is JSON of a schema."""

    type: Literal["json_schema"]
    name: SchemaName
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


TextFormat = Annotated[
    PlainFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


class TextParam(RequestModel):
    """What the answer is to look like."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseStreamOptions(RequestModel):
    """How to stream."""

    include_obfuscation: bool | None = None


class ConversationParam(RequestModel):
    """A conversation by its id."""

    id: str


class ImageOptions(RequestModel):
    """How images of a request are dealt with; there are none."""

    context_compression: Literal["auto", "disabled"] | None = None


class AccessPrograms(RequestModel):
    """Under which programs of the hosted service a request runs; there are none here."""

    cyber: Literal["standard"] | None = None


class BackgroundOptions(RequestModel):
    """Until when a background response is wanted, and what it belongs to; it is made at once."""

    completion_window: Literal["soonest", "2h", "8h"] | None = None
    continuation_id: str | None = None


class PromptCacheOptions(RequestModel):
    """Hints for the prefix cache, which needs none but `prewarm`."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m", "12h"] | None = None
    prewarm: bool | None = None


_Count = Annotated[int, Field(ge=1)]
_Items = Annotated[list[Any], DescribedAs(list[InputItem])]


class PromptRequest(RequestModel):
    """What makes up the prompt: the part that `input_tokens` shares."""

    model: str | None = None
    input: str | _Items | None = None
    messages: _Items | None = None  # another name of `input`, from the guides
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationParam | None = None
    tools: Annotated[list[dict[str, Any]], DescribedAs(list[ResponseTool])] | None = None
    tool_choice: Annotated[str | dict[str, Any], DescribedAs(ResponseToolChoice)] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningParam | None = None
    text: TextParam | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation, in either of its forms."""
        given = self.conversation
        return given.id if isinstance(given, ConversationParam) else given

    @field_validator("conversation")
    @classmethod
    def _one_past(
        cls, given: str | ConversationParam | None, info: ValidationInfo
    ) -> str | ConversationParam | None:
        if given is not None and info.data.get("previous_response_id") is not None:
            raise ValueError(
                "'previous_response_id' and 'conversation' exclude each other; give one of them"
            )
        return given

    @model_validator(mode="after")
    def _input_under_either_name(self) -> PromptRequest:
        if self.input is None:
            self.input = self.messages
        return self


class CountRequest(PromptRequest):
    """The body of POST /v1/responses/input_tokens."""

    personality: Any = None  # refused by name


class CompactRequest(PromptRequest):
    """The body of POST /v1/responses/compact: what makes up a prompt, and hints that mean nothing."""

    cache_salt: CacheSalt | None = None  # beyond the hosted API
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    service_tier: ServiceTier | None = None
    image: ImageOptions | None = None


class ResponseRequest(PromptRequest):
    """The body of POST /v1/responses."""

    # how to draw
    max_output_tokens: _Count | None = None
    max_tokens: _Count | None = None  # another name, from the guides
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # how to answer
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    include: list[Includable] | None = None
    store: bool | None = None
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    generate: bool | None = None  # false only fills the prefix cache
    # echoed
    metadata: Metadata | None = None
    max_tool_calls: _Count | None = None
    service_tier: ServiceTier | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    user: str | None = None
    # the usual is taken, what would need more is refused
    image: ImageOptions | None = None
    access_programs: AccessPrograms | None = None
    # refused by name
    prompt: Any = None
    moderation: Any = None
    context_management: Any = None
    response_format: Any = None
    # beyond the hosted API
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: str | list[str] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    logit_bias: dict[str, float] | None = None
    priority: int | None = None
    cache_salt: CacheSalt | None = None

    @property
    def output_limit(self) -> int | None:
        """How many tokens may be drawn, under either name."""
        return self.max_output_tokens or self.max_tokens

    @property
    def only_prefills(self) -> bool:
        """Whether only the prefix cache is to be filled."""
        options = self.prompt_cache_options
        return self.generate is False or (options is not None and options.prewarm is True)

    def includes(self, name: str) -> bool:
        """Whether `include` holds this."""
        return name in (self.include or ())

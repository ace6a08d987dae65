"""Tools and the choice among them, each kind as a model of its own; `tools` and `tool_choice` read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ossia.server.body import RequestModel

ToolName = Annotated[str, Field(json_schema_extra={"pattern": r"^[A-Za-z0-9_.:/@$+-]{1,128}$"})]
"""Said only in the document: `tools` has better words for what is wrong."""


class FunctionBody(RequestModel):
    """A function of the caller's."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class CallerFields(RequestModel):
    """Who may call a tool, and when. The model itself does, at once, from the first turn on."""

    allowed_callers: list[Literal["direct", "programmatic"]] | None = None
    async_: Annotated[bool | None, Field(alias="async")] = None
    defer_loading: bool | None = None  # a search for tools would find it; it is there already


class FunctionTool(FunctionBody, CallerFields):
    """The same as a tool; `output_schema` is for programs that call it."""

    type: Literal["function"]
    output_schema: dict[str, Any] | None = None


class FreeFormat(RequestModel):
    """The text for a custom tool is any text."""

    type: Literal["text"]


class GrammarFormat(RequestModel):
    """The text for a custom tool follows a grammar."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


class NestedGrammar(RequestModel):
    """A grammar for the text of a custom tool, as Chat Completions has it."""

    syntax: Literal["lark", "regex"]
    definition: str


class NestedFormat(RequestModel):
    """The text for a custom tool follows a grammar."""

    type: Literal["grammar"]
    grammar: NestedGrammar


CustomFormat = Annotated[FreeFormat | GrammarFormat, Field(discriminator="type")]


class CustomTool(CallerFields):
    """A tool of the caller's that takes text instead of JSON."""

    type: Literal["custom"]
    name: ToolName
    description: str | None = None
    format: CustomFormat | None = None


class NamespaceTool(RequestModel):
    """Tools under a common first half of their name."""

    type: Literal["namespace"]
    name: ToolName
    description: str | None = None
    tools: Annotated[list[dict[str, Any]], Field(min_length=1)]


WebSearchKind = Literal[
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
]


class UserLocation(RequestModel):
    """Where the user is."""

    type: Literal["approximate"] | None = None
    city: str | None = None
    country: Annotated[str, Field(pattern="^[A-Za-z]{2}$")] | None = None
    region: str | None = None
    timezone: str | None = None


_Domain = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")]


class Filters(RequestModel):
    """Where to search."""

    allowed_domains: Annotated[list[_Domain], Field(max_length=100)] | None = None


class WebSearchTool(RequestModel):
    """A search of the web; left out where the server has none, since clients send it in any case."""

    type: WebSearchKind
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None
    filters: Filters | None = None
    external_web_access: bool | None = None
    search_content_types: list[Literal["text", "image"]] | None = None


class NestedFunctionTool(RequestModel):
    """A function as Chat Completions has it."""

    type: Literal["function"]
    function: FunctionBody


ResponseTool = FunctionTool | NestedFunctionTool | CustomTool | NamespaceTool | WebSearchTool


class NamedTool(RequestModel):
    """The one tool that must be called."""

    type: Literal["function", "custom"]
    name: str
    namespace: str | None = None


class WebSearchChoice(RequestModel):
    """The web must be searched first."""

    type: WebSearchKind


class AllowedTools(RequestModel):
    """The only tools that may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


ChoiceWord = Literal["none", "auto", "required"]
ResponseToolChoice = ChoiceWord | NamedTool | WebSearchChoice | AllowedTools

"""The tools of a chat and the choice among them, in the forms that the Responses API has otherwise."""

from __future__ import annotations

from typing import Any, Literal

from ossia.server.body import RequestModel
from ossia.server.responses.tool_schemas import (
    AllowedTools,
    ChoiceWord,
    CustomTool,
    FreeFormat,
    FunctionTool,
    GrammarFormat,
    NamedTool,
    NamespaceTool,
    NestedFormat,
    NestedFunctionTool,
    ToolName,
    WebSearchTool,
)


class CustomBody(RequestModel):
    """A tool of the caller's that takes text instead of JSON."""

    name: ToolName
    description: str | None = None
    format: FreeFormat | NestedFormat | GrammarFormat | None = None


class NestedCustomTool(RequestModel):
    """The same as a tool."""

    type: Literal["custom"]
    custom: CustomBody


ChatTool = (
    NestedFunctionTool
    | NestedCustomTool
    | FunctionTool
    | CustomTool
    | NamespaceTool
    | WebSearchTool
)


class Named(RequestModel):
    """A name."""

    name: str


class NamedFunctionTool(RequestModel):
    """The one function that must be called."""

    type: Literal["function"]
    function: Named


class NamedCustomTool(RequestModel):
    """The one tool of free text that must be called."""

    type: Literal["custom"]
    custom: Named


class AllowedBody(RequestModel):
    """The only tools that may be called."""

    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class NestedAllowedTools(RequestModel):
    """The same as a choice."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedBody


ChatToolChoice = (
    ChoiceWord | NamedFunctionTool | NamedCustomTool | NestedAllowedTools | NamedTool | AllowedTools
)

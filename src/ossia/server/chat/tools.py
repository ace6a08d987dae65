"""The tools of a chat, and which of them are to be called, in the forms of all times."""

from __future__ import annotations

from typing import Any

from ossia.server.api_error import ApiError
from ossia.server.chat.schemas import ChatRequest, NamedFunction
from ossia.server.responses.tool_choice import ToolChoice, read_tool_choice
from ossia.server.responses.tools import read_tools

JsonObject = dict[str, Any]


def read_chat_tools(body: ChatRequest) -> ToolChoice:
    """The tools on offer, and what of them may or must be called.

    Raises:
        ApiError: a tool is malformed or no kind that is offered, or one is named that is not there.
    """
    if uses_functions(body):
        if body.tools:
            raise ApiError("'functions' and 'tools' exclude each other", param="functions")
        tools = [{"type": "function", **one.model_dump()} for one in body.functions or ()]
        return read_tool_choice(_choice_of_functions(body), read_tools(tools))
    tools = [_flat(tool) for tool in body.tools or ()]
    return read_tool_choice(_flat_choice(body.tool_choice), read_tools(tools))


def uses_functions(body: ChatRequest) -> bool:
    """Whether the request is from before there were tools, and is to be answered so."""
    return bool(body.functions)


def _choice_of_functions(body: ChatRequest) -> str | JsonObject | None:
    if isinstance(body.function_call, NamedFunction):
        return {"type": "function", "name": body.function_call.name}
    return body.function_call


def _flat(tool: JsonObject) -> JsonObject:
    """A custom tool as the Responses API has it; functions are read in either form."""
    inner = tool.get("custom")
    if tool.get("type") != "custom" or not isinstance(inner, dict):
        return tool
    given = inner.get("format")
    if isinstance(given, dict) and isinstance(given.get("grammar"), dict):
        inner = {**inner, "format": {"type": given.get("type"), **given["grammar"]}}
    return {"type": "custom", **inner}


def _flat_choice(choice: str | JsonObject | None) -> str | JsonObject | None:
    """A choice as the Responses API has it."""
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools")
        body = inner if isinstance(inner, dict) else choice
        listed = body.get("tools")
        if isinstance(listed, list):
            tools = [_flat(one) if isinstance(one, dict) else one for one in listed]
            return {"type": "allowed_tools", "mode": body.get("mode"), "tools": tools}
    return _flat(choice)

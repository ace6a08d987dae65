"""The tools of a chat, and which of them are to be called, in the forms of all times."""

from __future__ import annotations

from typing import Any

from ossia.server.api_error import ApiError
from ossia.server.chat.schemas import ChatRequest, NamedFunction
from ossia.server.responses.tool_choice import ToolChoice, read_tool_choice
from ossia.server.responses.tools import ToolTable, read_tools

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
        table = read_tools(tools, member="functions")
        return read_tool_choice(_choice_of_functions(body, table), table)
    return read_tool_choice(body.tool_choice, read_tools(body.tools or ()))


def uses_functions(body: ChatRequest) -> bool:
    """Whether the request is from before there were tools, and is to be answered so."""
    return bool(body.functions)


def _choice_of_functions(body: ChatRequest, table: ToolTable) -> str | JsonObject | None:
    if not isinstance(body.function_call, NamedFunction):
        return body.function_call
    name = body.function_call.name
    if all(tool.name != name for tool in table.tools):
        path = "function_call.name"
        raise ApiError(
            f"Invalid value for '{path}': no function named {name[:128]!r} is in 'functions'.",
            param=path,
            code="invalid_value",
        )
    return {"type": "function", "name": name}

"""Tool: a function that a model may call, and how it is run."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ossia.api.events import ToolCall, ToolResult
from ossia.harmony import Author, Message, Role, TextContent, ToolDescription

_FUNCTIONS = "functions"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model is told of.

    Args:
        description: What the model is told.
        function: Called with the model's arguments by name, and may be a coroutine function where
            the answer is awaited. None hands the call to whoever consumes the answer. It gives
            text, anything that JSON can hold, or a `ToolOutput`.
        namespace: The group that it is offered in.
    """

    description: ToolDescription
    function: Callable[..., Any] | None = None
    namespace: str = _FUNCTIONS

    @property
    def recipient(self) -> str:
        """How the model addresses it."""
        return f"{self.namespace}.{self.description.name}"


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A result with more to it than its text.

    Args:
        text: What the model reads.
        failed: Whether it is no more than what went wrong.
        about: As `ToolResult` has it.
    """

    text: str
    failed: bool = False
    about: Any = None


def function_name(recipient: str) -> str:
    """The developer's name of a function; built-in tools keep their namespace."""
    return recipient.removeprefix(f"{_FUNCTIONS}.")


def run_tool(tool: Tool | None, call: ToolCall) -> ToolResult:
    """Call a tool's function.

    Whatever goes wrong becomes the result: the model is the one who can do better.

    Args:
        tool: The tool that has a function, or None if the model called one that does not exist.
        call: What the model wrote.
    """
    try:
        value = _begin(tool, call)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError(f"{call.name} must be awaited; use the asynchronous front")
        return _result(call, value)
    except Exception as error:
        return _failure(call, error)


async def run_tool_async(tool: Tool | None, call: ToolCall) -> ToolResult:
    """The same, awaiting what the function gives if it can be awaited.

    A function that is no coroutine function runs on a thread: it may take its time.
    """
    try:
        if tool is not None and inspect.iscoroutinefunction(tool.function):
            value = _begin(tool, call)
        else:
            value = await asyncio.to_thread(_attempt, tool, call)
            if isinstance(value, ToolResult):
                return value
        return _result(call, await value if inspect.isawaitable(value) else value)
    except Exception as error:
        return _failure(call, error)


def result_message(call: ToolCall, result: ToolResult, channel: str | None) -> Message:
    """A result as the model reads it, on the channel of the call."""
    return Message(
        Author(Role.TOOL, call.recipient),
        [TextContent(result.output)],
        channel=channel,
        recipient=Role.ASSISTANT.value,
    )


def _begin(tool: Tool | None, call: ToolCall) -> object:
    if tool is None or tool.function is None:
        raise LookupError(f"there is no tool named {call.name}")
    arguments = json.loads(call.arguments or "{}")
    if not isinstance(arguments, dict):
        raise TypeError("the arguments must be a JSON object")
    return tool.function(**arguments)


def _attempt(tool: Tool | None, call: ToolCall) -> object:
    """`_begin` for a thread, with failures as results: a StopIteration passes through no future."""
    try:
        return _begin(tool, call)
    except Exception as error:
        return _failure(call, error)


def _result(call: ToolCall, value: object) -> ToolResult:
    if isinstance(value, ToolOutput):
        return ToolResult(
            call.call_id, call.name, value.text, failed=value.failed, about=value.about
        )
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return ToolResult(call.call_id, call.name, text)


def _failure(call: ToolCall, error: Exception) -> ToolResult:
    try:
        message = str(error)
    except Exception as broken:  # from the exception's own __str__
        message = f"(its message cannot be shown: {type(broken).__name__})"
    text = f"Error: {type(error).__name__}: {message}"
    return ToolResult(call.call_id, call.name, text, failed=True)

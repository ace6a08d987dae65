"""Chat messages, as the Chat Completions API and chat templates take them, to a Conversation."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ossia.errors import HarmonyError
from ossia.harmony.contents import (
    Content,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from ossia.harmony.json_value import optional_text
from ossia.harmony.messages import Author, Channel, Conversation, Message, Role
from ossia.harmony.tools import ToolDescription

ChatMessage = Mapping[str, Any]

_BUILTIN_TOOLS = ("browser", "python")
_CALL_TYPE = "<|constrain|>json"


def conversation_from_chat(
    messages: Sequence[ChatMessage],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    builtin_tools: Collection[str] = (),
    model_identity: str | None = None,
    reasoning_effort: str | None = None,
    date: str | None = None,
) -> Conversation:
    """Write a chat as harmony messages.

    Args:
        messages: Objects with a `role` (system, developer, user, assistant, tool) and `content`,
            text or a list of text parts. An assistant's may have reasoning (`thinking`,
            `reasoning` or `reasoning_content`) and `tool_calls`, whose arguments are an object or
            JSON text. A tool's message answers the call of its `tool_call_id`, or without one the
            oldest call that is still waiting.
        tools: Functions, in either form of the OpenAI APIs.
        builtin_tools: `browser`, `python`, or both.
        model_identity: Who the model is; None is the default.
        reasoning_effort: low, medium or high; None is medium.
        date: Today, as YYYY-MM-DD.

    Raises:
        HarmonyError: a message, tool or setting is not as described.
    """
    if not isinstance(builtin_tools, Collection):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise HarmonyError("builtin_tools must be a list of names")
    for name in builtin_tools:
        if name not in _BUILTIN_TOOLS:
            raise HarmonyError(f"{name!r} is no built-in tool; there are browser and python")
    system = SystemContent(conversation_start_date=date)
    if model_identity is not None:
        system.model_identity = _text(model_identity)
    if reasoning_effort is not None:
        system.reasoning_effort = _effort(reasoning_effort)
    if "browser" in builtin_tools:
        system.with_browser_tool()
    if "python" in builtin_tools:
        system.with_python_tool()
    chat = _Chat([Message.from_role_and_content(Role.SYSTEM, system)])
    functions = [ToolDescription.from_openai(tool) for tool in _objects(tools, "tools")]
    if functions and not (messages and messages[0].get("role") in ("system", "developer")):
        chat.add(Role.DEVELOPER, DeveloperContent().with_function_tools(functions))
    for position, message in enumerate(messages):
        chat.add_message(message, functions if position == 0 else [])
    return Conversation(chat.messages)


@dataclass(slots=True)
class _Chat:
    """Harmony messages so far, and the calls whose result has not come."""

    messages: list[Message]
    calls: _Calls = field(default_factory=lambda: _Calls())

    def add(self, role: Role, content: str | Content, channel: Channel | None = None) -> None:
        self.messages.append(
            Message(
                Author(role), [_as_content(content)], None if channel is None else channel.value
            )
        )

    def add_message(self, message: ChatMessage, functions: list[ToolDescription]) -> None:
        """Append what a chat message amounts to; `functions` go with a developer's."""
        text = _text(message.get("content"))
        match message.get("role"):
            case "system" | "developer":
                content = DeveloperContent(text)
                if functions:
                    content.with_function_tools(functions)
                self.add(Role.DEVELOPER, content)
            case "user":
                author = Author(Role.USER, optional_text(message, "name", "a message") or None)
                self.messages.append(Message.from_author_and_content(author, text))
            case "assistant":
                self._add_assistant(message, text)
            case "tool":
                name = self._answered(message)
                answer = Message.from_author_and_content(Author(Role.TOOL, name), text)
                self.messages.append(
                    answer.with_channel(Channel.COMMENTARY.value).with_recipient("assistant")
                )
            case other:
                raise HarmonyError(f"unknown role {other!r}")

    def _add_assistant(self, message: ChatMessage, text: str) -> None:
        thinking = _text(
            message.get("thinking") or message.get("reasoning") or message.get("reasoning_content")
        )
        calls = _objects(message.get("tool_calls") or (), "tool_calls")
        if thinking:
            self.add(Role.ASSISTANT, thinking, Channel.ANALYSIS)
        if not calls:
            if text or not thinking:
                self.add(Role.ASSISTANT, text, Channel.FINAL)
            return
        if text:
            self.add(Role.ASSISTANT, text, Channel.COMMENTARY)
        for call in calls:
            (function,) = _objects([call.get("function") or call], "function")
            name = optional_text(function, "name", "a function")
            if name is None:
                raise HarmonyError("a tool call needs the name of a function")
            kind = optional_text(function, "content_type", "a function")
            self.calls.add(call.get("id") or call.get("call_id"), name)
            self.add(Role.ASSISTANT, _arguments(function.get("arguments")), Channel.COMMENTARY)
            self.messages[-1].recipient = f"functions.{name}"
            self.messages[-1].content_type = kind or _CALL_TYPE

    def _answered(self, message: ChatMessage) -> str:
        """The full name of the function whose result this is."""
        wanted = message.get("tool_call_id")
        if (name := self.calls.take(wanted)) is not None:
            return f"functions.{name}"
        if name := optional_text(message, "name", "a message"):
            return f"functions.{name}"
        raise HarmonyError(
            f"a tool message answers no call: no earlier assistant message has a tool call "
            f"with the id {wanted!r}"
        )


class _Calls:
    """Names of called functions by the ids of the calls, and in order."""

    def __init__(self) -> None:
        self._in_order: deque[list[str]] = deque()  # each a name, until it is taken
        self._by_id: dict[str, deque[list[str]]] = {}

    def add(self, call_id: object, name: str) -> None:
        call = [name]
        self._in_order.append(call)
        self._by_id.setdefault(repr(call_id), deque()).append(call)

    def take(self, wanted: object) -> str | None:
        """The oldest with this id, or of all if there is none."""
        calls = self._by_id.get(repr(wanted)) if wanted else self._in_order
        while calls:
            if call := calls.popleft():
                return call.pop()
        return None


def _objects(value: object, what: str) -> Sequence[Mapping[str, Any]]:
    listed = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [None]
    if not all(isinstance(each, Mapping) for each in listed):
        raise HarmonyError(f"{what} must be a list of objects")
    return cast("Sequence[Mapping[str, Any]]", listed)


def _as_content(content: str | Content) -> Content:
    return TextContent(content) if isinstance(content, str) else content


def _arguments(value: object) -> str:
    return value if isinstance(value, str) else _json(value or {})


def _text(content: object) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list | tuple):
        return _json(content)
    texts: list[str] = []
    for part in cast("Sequence[object]", content):
        text = cast("Mapping[str, object]", part).get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            raise HarmonyError("only text can be shown to the model; a part is of another kind")
        texts.append(text)
    return "".join(texts)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _effort(value: str) -> ReasoningEffort:
    try:
        return ReasoningEffort(value)
    except ValueError:
        raise HarmonyError(f"reasoning effort {value!r} is none of low, medium, high") from None

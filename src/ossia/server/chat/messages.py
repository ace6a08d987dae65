"""Chat messages as they were sent, to the plain form that harmony's reader of chats takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ossia.server.api_error import ApiError
from ossia.server.chat.message_schemas import (
    AssistantMessage,
    ChatMessageParam,
    Content,
    ContentPart,
    FunctionCall,
    FunctionMessage,
    InstructionMessage,
    ToolCallParam,
    ToolMessage,
    UserMessage,
)
from ossia.server.chat.open_calls import OpenCalls
from ossia.server.reasoning_memory import ReasoningMemory
from ossia.server.word import check_word

PlainMessage = dict[str, Any]

_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
_IMAGE_TYPES = frozenset({"image_url", "input_image"})
_IMAGE_NOTE = "[An image stood here. You cannot see images.]"


def plain_messages(
    messages: Sequence[ChatMessageParam],
    *,
    images: Literal["refuse", "note"],
    memory: ReasoningMemory,
    complete: bool,
) -> list[PlainMessage]:
    """The messages with their content as text, and their calls in one form.

    Args:
        messages: As the client sent them.
        images: What to do with images.
        memory: Holds reasoning that a client has dropped between a call and its result.
        complete: Whether the model is to go on from them, so that nothing may be missing.

    Raises:
        ApiError: a part is of a kind that no text model reads, or a result answers no call; of
            complete ones also if a message says nothing, or a call has no result.
    """
    reader = _Reader(images, memory, complete)
    plain = [
        reader.read(message, f"messages[{position}]") for position, message in enumerate(messages)
    ]
    if complete:
        reader.calls.check()
    return plain


class _Reader:
    """Reads messages in order, with an eye on which calls there were.

    Attributes:
        calls: Those whose results have not come.
    """

    def __init__(
        self, images: Literal["refuse", "note"], memory: ReasoningMemory, complete: bool
    ) -> None:
        self._images = images
        self._memory = memory
        self._complete = complete
        self.calls = OpenCalls()

    def read(self, message: ChatMessageParam, path: str) -> PlainMessage:
        if not isinstance(message, AssistantMessage | FunctionMessage):
            self._check_content(message.content, path)
        text = self._text(message.content, f"{path}.content")
        match message:
            case InstructionMessage():
                return {"role": message.role, "content": text}
            case UserMessage():
                if message.name:
                    check_word(message.name, f"{path}.name")
                return {"role": "user", "content": text, "name": message.name}
            case AssistantMessage():
                return self._assistant(message, text, path)
            case ToolMessage():
                return self._result(message.tool_call_id or None, message.name or None, text, path)
            case FunctionMessage():
                check_word(message.name, f"{path}.name")
                return self._result(None, message.name, text, path)

    def _assistant(self, message: AssistantMessage, text: str, path: str) -> PlainMessage:
        if message.audio is not None:
            raise _unreadable("audio", f"{path}.audio")
        calls = [
            _call(call, f"{path}.tool_calls[{position}]")
            for position, call in enumerate(message.tool_calls or ())
        ]
        ids = [call["id"] for call in calls if call["id"]]
        for call in calls:
            name = call["function"]["name"]
            call["id"] = self.calls.add(call["id"] or None, name, f"{path}.tool_calls")
        if message.function_call is not None:
            function = _function(message.function_call, f"{path}.function_call")
            calls.append({"id": self.calls.add(None, function["name"], ""), "function": function})
        reasoning = message.reasoning or message.reasoning_content or message.thinking
        if not (calls or message.refusal or reasoning):
            self._check_content(message.content, path)
        if not reasoning:
            reasoning = next(filter(None, map(self._memory.get, ids)), None)
        return {
            "role": "assistant",
            "content": text or message.refusal or "",
            "reasoning": reasoning,
            "tool_calls": calls,
        }

    def _result(self, call_id: str | None, name: str | None, text: str, path: str) -> PlainMessage:
        key = self.calls.answer(call_id, name, path)
        return {"role": "tool", "content": text, "tool_call_id": key, "name": name}

    def _check_content(self, content: Content, path: str) -> None:
        if content is None and self._complete:
            raise _missing(f"{path}.content")

    def _text(self, content: Content, path: str) -> str:
        if content is None or isinstance(content, str):
            return content or ""
        return "".join(
            self._part(part, f"{path}[{position}]") for position, part in enumerate(content)
        )

    def _part(self, part: ContentPart, path: str) -> str:
        if part.type in _TEXT_TYPES:
            if part.text is None:
                raise _missing(f"{path}.text")
            return part.text
        if part.type == "refusal":
            return part.refusal or ""
        if part.type in _IMAGE_TYPES and self._images == "note":
            return _IMAGE_NOTE
        raise _unreadable(part.type[:40], f"{path}.type")


def _call(call: ToolCallParam, path: str) -> PlainMessage:
    if call.function is not None:
        return {"id": call.id, "function": _function(call.function, f"{path}.function")}
    if call.custom is not None:
        check_word(call.custom.name, f"{path}.custom.name")
        function = {"name": call.custom.name, "arguments": call.custom.input}
        return {"id": call.id, "function": function}
    raise _missing(f"{path}.{call.type or 'function'}")


def _function(function: FunctionCall, path: str) -> PlainMessage:
    check_word(function.name, f"{path}.name")
    return {"name": function.name, "arguments": function.arguments or "{}"}


def _missing(path: str) -> ApiError:
    return ApiError(
        f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )


def _unreadable(kind: str, path: str) -> ApiError:
    return ApiError(
        f"Invalid value for '{path}': gpt-oss reads text only, so {kind!r} cannot be given.",
        param=path,
        code="unsupported_content",
    )

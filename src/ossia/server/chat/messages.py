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
from ossia.server.reasoning_memory import ReasoningMemory

PlainMessage = dict[str, Any]

_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
_IMAGE_TYPES = frozenset({"image_url", "input_image"})
_IMAGE_NOTE = "[An image stood here. You cannot see images.]"


def plain_messages(
    messages: Sequence[ChatMessageParam],
    *,
    images: Literal["refuse", "note"],
    memory: ReasoningMemory,
) -> list[PlainMessage]:
    """The messages with their content as text, and their calls in one form.

    Args:
        messages: As the client sent them.
        images: What to do with images.
        memory: Holds reasoning that a client has dropped between a call and its result.

    Raises:
        ApiError: a part is of a kind that no text model reads, or a result answers no call.
    """
    reader = _Reader(images, memory)
    return [
        reader.read(message, f"messages[{position}]") for position, message in enumerate(messages)
    ]


class _Reader:
    """Reads messages in order, with an eye on which calls there were."""

    def __init__(self, images: Literal["refuse", "note"], memory: ReasoningMemory) -> None:
        self._images = images
        self._memory = memory
        self._called: set[str] = set()

    def read(self, message: ChatMessageParam, path: str) -> PlainMessage:
        text = self._text(message.content, f"{path}.content")
        match message:
            case InstructionMessage():
                return {"role": message.role, "content": text}
            case UserMessage():
                return {"role": "user", "content": text, "name": message.name}
            case AssistantMessage():
                return self._assistant(message, text, path)
            case ToolMessage():
                call_id, name = message.tool_call_id, message.name
                if call_id is not None and call_id not in self._called and name is None:
                    raise ApiError(
                        f"Invalid value for '{path}.tool_call_id': no earlier message has a tool "
                        f"call with the id {call_id[:100]!r}.",
                        param=f"{path}.tool_call_id",
                    )
                return {"role": "tool", "content": text, "tool_call_id": call_id, "name": name}
            case FunctionMessage():
                return {"role": "tool", "content": text, "name": message.name}

    def _assistant(self, message: AssistantMessage, text: str, path: str) -> PlainMessage:
        if message.audio is not None:
            raise _unreadable("audio", f"{path}.audio")
        calls = [
            _call(call, f"{path}.tool_calls[{position}]")
            for position, call in enumerate(message.tool_calls or ())
        ]
        if message.function_call is not None:
            calls.append({"function": _function(message.function_call)})
        ids = [call["id"] for call in calls if call.get("id")]
        self._called.update(ids)
        reasoning = message.reasoning or message.reasoning_content or message.thinking
        if not reasoning:
            reasoning = next(filter(None, map(self._memory.get, ids)), None)
        return {
            "role": "assistant",
            "content": text or message.refusal or "",
            "reasoning": reasoning,
            "tool_calls": calls,
        }

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
        return {"id": call.id, "function": _function(call.function)}
    if call.custom is not None:
        function = {"name": call.custom.name, "arguments": call.custom.input}
        return {"id": call.id, "function": function}
    raise _missing(f"{path}.{call.type or 'function'}")


def _function(function: FunctionCall) -> PlainMessage:
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

"""Anthropic's messages to the plain chat messages that harmony's reader of chats takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from ossia.server.anthropic.blocks import ForeignBlock
from ossia.server.anthropic.schemas import Blocks, MessageParam
from ossia.server.api_error import ApiError
from ossia.server.reasoning_memory import ReasoningMemory

PlainMessage = dict[str, Any]

_IMAGE_NOTE: Final = "[An image stood here. You cannot see images.]"
_FOREIGN: Final = frozenset(get_args(ForeignBlock.model_fields["type"].annotation))


class Transcript:
    """Reads messages in order, with an eye on which calls there were.

    Args:
        images: What to do with images.
        memory: Holds reasoning that a client has not sent back.
    """

    def __init__(self, images: Literal["refuse", "note"], memory: ReasoningMemory) -> None:
        self._images = images
        self._memory = memory
        self._called: set[str] = set()

    def read(self, system: Blocks | None, messages: Sequence[MessageParam]) -> list[PlainMessage]:
        """All messages in plain form, the system prompt first.

        Raises:
            ApiError: a block is malformed, is nothing that a text model reads, or answers no call.
        """
        plain: list[PlainMessage] = []
        if system:
            plain.append({"role": "developer", "content": self._text(system, "system")})
        for position, message in enumerate(messages):
            path = f"messages[{position}].content"
            match message.role:
                case "system":
                    plain.append(
                        {"role": "developer", "content": self._text(message.content, path)}
                    )
                case "user":
                    plain += self._user(message.content, path)
                case "assistant":
                    plain.append(self._assistant(message.content, path))
        return plain

    def _user(self, content: Blocks, path: str) -> list[PlainMessage]:
        """Results of calls first, as they answer what came before; then what the user says."""
        if isinstance(content, str):
            return [{"role": "user", "content": content}]
        results: list[PlainMessage] = []
        said: list[dict[str, Any]] = []
        for position, block in enumerate(content):
            if block.get("type") == "tool_result":
                results.append(self._result(block, f"{path}[{position}]"))
            else:
                said.append(block)
        if said or not results:
            results.append({"role": "user", "content": self._text(said, path)})
        return results

    def _result(self, block: Mapping[str, Any], path: str) -> PlainMessage:
        call_id = _string(block, "tool_use_id", path)
        if call_id not in self._called:
            raise ApiError(
                f"{path}.tool_use_id: no earlier message has a tool_use block with the id "
                f"{call_id[:100]!r}",
                param=f"{path}.tool_use_id",
            )
        text = self._content(block, path)
        if block.get("is_error"):
            text = f"Error: {text}"
        return {"role": "tool", "tool_call_id": call_id, "content": text}

    def _assistant(self, content: Blocks, path: str) -> PlainMessage:
        if isinstance(content, str):
            return {"role": "assistant", "content": content}
        thoughts: list[str] = []
        said: list[dict[str, Any]] = []
        calls: list[PlainMessage] = []
        for position, block in enumerate(content):
            match block.get("type"):
                case "thinking":
                    thoughts.append(_string(block, "thinking", f"{path}[{position}]"))
                case "tool_use":
                    calls.append(self._call(block, f"{path}[{position}]"))
                case _:
                    said.append(block)
        remembered = (self._memory.get(call["id"]) for call in calls)
        reasoning = "\n\n".join(filter(None, thoughts)) or next(filter(None, remembered), "")
        return {
            "role": "assistant",
            "content": self._text(said, path),
            "reasoning": reasoning,
            "tool_calls": calls,
        }

    def _call(self, block: Mapping[str, Any], path: str) -> PlainMessage:
        call_id = _string(block, "id", path)
        arguments = {} if block.get("input") is None else block["input"]
        if not isinstance(arguments, dict):
            raise ApiError(f"{path}.input: must be an object", param=f"{path}.input")
        self._called.add(call_id)
        return {
            "id": call_id,
            "function": {"name": _string(block, "name", path), "arguments": arguments},
        }

    def _content(self, block: Mapping[str, Any], path: str) -> str:
        content = block.get("content")
        return "" if content is None else self._text(content, f"{path}.content")

    def _text(self, content: Blocks, path: str) -> str:
        if isinstance(content, str):
            return content
        if not isinstance(content, list):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ApiError(f"{path}: must be a string or a list of blocks", param=path)
        return "".join(
            self._block(block, f"{path}[{position}]") for position, block in enumerate(content)
        )

    def _block(self, block: object, path: str) -> str:
        if not isinstance(block, dict):
            raise ApiError(f"{path}: a block must be an object", param=path)
        match block.get("type"):
            case "text":
                return _string(block, "text", path)
            case "document" | "search_result" if _wants_citations(block):
                raise ApiError(
                    f"{path}.citations: gpt-oss cites nothing; leave it out",
                    param=f"{path}.citations",
                )
            case "document":
                return self._document(block, path)
            case "search_result":
                title = _optional(block, "title", path) or _optional(block, "source", path)
                return f"{title}\n{self._content(block, path)}"
            case "image" if self._images == "note":
                return _IMAGE_NOTE
            case str(kind) if kind in _FOREIGN:
                return ""
            case kind:
                raise ApiError(
                    f"{path}.type: gpt-oss reads text only, so {str(kind)[:40]!r} cannot be given",
                    param=f"{path}.type",
                )

    def _document(self, block: Mapping[str, Any], path: str) -> str:
        source = block.get("source")
        kind = source.get("type") if isinstance(source, dict) else None
        if isinstance(source, dict) and kind == "text":
            text = _string(source, "data", f"{path}.source")
        elif isinstance(source, dict) and kind == "content":
            text = self._content(source, f"{path}.source")
        else:
            raise ApiError(
                f"{path}.source.type: gpt-oss reads text only; give the document's text",
                param=f"{path}.source.type",
            )
        about = (_optional(block, name, path) for name in ("title", "context"))
        return "\n".join([*filter(None, about), text])


def _optional(block: Mapping[str, Any], name: str, path: str) -> str:
    return "" if block.get(name) is None else _string(block, name, path)


def _wants_citations(block: Mapping[str, Any]) -> bool:
    wanted = block.get("citations")
    return isinstance(wanted, dict) and bool(wanted.get("enabled"))


def _string(block: Mapping[str, Any], name: str, path: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise ApiError(f"{path}.{name}: a string is required", param=f"{path}.{name}")
    return value

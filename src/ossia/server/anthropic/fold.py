"""MessageFold: events of an answer to the events of a streamed message, and to the whole message."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import orjson

from ossia.api.events import (
    Done,
    Ending,
    Event,
    MessageDone,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from ossia.server.anthropic.intake import ThoughtDisplay
from ossia.server.reasoning_memory import ReasoningMemory

JsonObject = dict[str, Any]

_STOP_REASONS = {
    Ending.STOP: "end_turn",
    Ending.LENGTH: "max_tokens",
    Ending.TOOL_CALLS: "tool_use",
    Ending.ABORT: "end_turn",
    Ending.DEADLINE: "max_tokens",
}


class MessageFold:
    """Folds an answer; the message is whole after `Done`.

    Args:
        model: The name to give.
        input_tokens: Of the prompt, as told before anything is drawn.
        thoughts: How thinking is given.
        memory: Gets the reasoning that led to a call.

    Attributes:
        message: The message object as it is so far.
    """

    def __init__(
        self, model: str, input_tokens: int, thoughts: ThoughtDisplay, memory: ReasoningMemory
    ) -> None:
        self.message: JsonObject = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(Usage(input_tokens=input_tokens)),
        }
        self._thoughts = thoughts
        self._memory = memory
        self._pieces: list[str] = []  # of the open block
        self._open = False
        self._reasoning: list[str] = []

    def start(self) -> list[JsonObject]:
        """What a stream begins with."""
        message = self.message | {"content": []}
        return [{"type": "message_start", "message": message}, {"type": "ping"}]

    def push(self, event: Event) -> list[JsonObject]:
        """What an event amounts to in the stream."""
        match event:
            case ReasoningDelta(text=text):
                self._reasoning.append(text)
                if self._thoughts == "hidden":
                    return []
                return self._extend("thinking", text if self._thoughts == "shown" else "")
            case TextDelta(text=text):
                return self._extend("text", text)
            case ToolCallDelta(name=name, arguments=arguments):
                return self._extend("tool_use", arguments, name)
            case MessageDone():
                return self._close()
            case ToolCall():
                return self._call(event)
            case Done():
                return self._end(event)
            case _:
                return []

    def _extend(self, kind: str, piece: str, name: str = "") -> list[JsonObject]:
        events = [] if self._is_open(kind) else [*self._close(), self._begin(kind, name)]
        if piece:
            self._pieces.append(piece)
            events.append(self._delta(f"{_DELTAS[kind][0]}", **{_DELTAS[kind][1]: piece}))
        return events

    def _is_open(self, kind: str) -> bool:
        return self._open and self.message["content"][-1]["type"] == kind

    def _begin(self, kind: str, name: str) -> JsonObject:
        block: JsonObject = {"type": kind}
        if kind == "tool_use":
            block |= {"id": f"toolu_{secrets.token_hex(12)}", "name": name, "input": {}}
        elif kind == "thinking":
            block |= {"thinking": "", "signature": ""}
        else:
            block |= {"text": ""}
        self.message["content"].append(block)
        self._open, self._pieces = True, []
        return {"type": "content_block_start", "index": self._index, "content_block": dict(block)}

    def _close(self) -> list[JsonObject]:
        """End the open block, and put its text into the message."""
        if not self._open:
            return []
        self._open = False
        block, text = self.message["content"][-1], "".join(self._pieces)
        events: list[JsonObject] = []
        match block["type"]:
            case "text":
                block["text"] = text
            case "thinking":
                # Clients send a thought back only with a signature. Ours says no more than which
                # thought it is: what comes back is read as it is.
                block |= {"thinking": text, "signature": hashlib.sha256(text.encode()).hexdigest()}
                events.append(self._delta("signature_delta", signature=block["signature"]))
            case _:
                block["input"] = _object(text)
        return [*events, {"type": "content_block_stop", "index": self._index}]

    def _call(self, call: ToolCall) -> list[JsonObject]:
        events: list[JsonObject] = []
        blocks = self.message["content"]
        if not blocks or blocks[-1]["type"] != "tool_use":  # it has no arguments
            events = [*self._extend("tool_use", "", call.name), *self._close()]
        self._memory.put(blocks[-1]["id"], "".join(self._reasoning))
        return events

    def _end(self, done: Done) -> list[JsonObject]:
        events = self._close()
        reason = _STOP_REASONS[done.finish_reason]
        if done.stop_string is not None:
            reason = "stop_sequence"
        delta = {"stop_reason": reason, "stop_sequence": done.stop_string}
        self.message |= delta | {"usage": _usage(done.usage)}
        return [
            *events,
            {"type": "message_delta", "delta": delta, "usage": self.message["usage"]},
            {"type": "message_stop"},
        ]

    @property
    def _index(self) -> int:
        return len(self.message["content"]) - 1

    def _delta(self, kind: str, **members: str) -> JsonObject:
        delta = {"type": kind, **members}
        return {"type": "content_block_delta", "index": self._index, "delta": delta}


_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def _object(text: str) -> JsonObject:
    """The object that a model wrote as JSON; what is none is given as the value of one member."""
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        value = text
    return value if isinstance(value, dict) else {"input": value}

"""StreamedAnswer: events of a completion or a chat, and when what was said in them came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from ossia.errors import ServerError

_SAID = ("content", "reasoning_content", "reasoning")


class StreamedAnswer:
    """Takes in the body of an answer.

    Args:
        clock: Seconds.

    Attributes:
        pieces: When each event came that says something.
        text: What was said, reasoning included.
        usage: Token counts, where the server tells them.
        ended: Whether the server has told of the end.
        error: That the server has told in the stream.
        refusal: Body of an answer with another status than 200, at most 64 kB of it.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.pieces: list[float] = []
        self.text: list[str] = []
        self.usage: dict[str, Any] | None = None
        self.ended = False
        self.error: str | None = None
        self.refusal = b""
        self._clock = clock
        self._rest = b""

    def feed(self, status: int, data: bytes) -> None:
        """Take in a part of the body.

        Raises:
            ServerError: an event is no object of JSON.
        """
        if status != 200:
            self.refusal = (self.refusal + data)[: 1 << 16]
            return
        now = self._clock()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._event(value.strip(), now)

    def _event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.ended = True
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict):
            raise ServerError(f"sent an event that is no object of JSON: {data[:80]!r}")
        if event.get("error"):
            self.error = told(event)
        if isinstance(event.get("usage"), dict):
            self.usage = event["usage"]
        choices = event.get("choices")
        said = ""
        for choice in choices if isinstance(choices, list) else ():
            said += "".join(_said(choice))
            self.ended |= bool(choice.get("finish_reason"))
        if said:
            self.pieces.append(now)
            self.text.append(said)


def told(value: object) -> str:
    """The message of an error, in either of the usual forms."""
    error = value.get("error", value.get("detail", value)) if isinstance(value, dict) else value
    message = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(message).split())[:200]


def _said(choice: dict[str, Any]) -> Iterator[str]:
    """What a choice of an event says: text of a completion; content, reasoning or calls of a chat."""
    if isinstance(choice.get("text"), str):
        yield choice["text"]
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return
    for name in _SAID:
        if isinstance(delta.get(name), str):
            yield delta[name]
            if name != "content":
                break  # servers send the same reasoning under both names
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        yield str(function.get("name") or "") + str(function.get("arguments") or "")

"""Many event streams at once, read by a client that costs next to nothing while they run.

It only keeps what came and when; everything is understood afterwards.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from support.raw_http import post

_PIECE = 1 << 18


@dataclass
class Recording:
    """What came over one connection, and when, on the machine's monotonic clock."""

    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    def events(self) -> Iterator[tuple[float, Any]]:
        """The events of the stream as JSON, or as text where they are none; comments left out."""
        body = _Body()
        rest = b""
        for moment, piece in self.pieces:
            rest += body.feed(piece)
            *whole, rest = rest.split(b"\n\n")
            for event in whole:
                data = event.partition(b"data: ")[2]
                if data:
                    yield moment, json.loads(data) if data.startswith(b"{") else data.decode()
        assert body.status == 200, (body.status, self.pieces)
        assert body.ended, "the stream broke off"
        assert not rest, rest


@dataclass(frozen=True)
class Told:
    """A stream, understood.

    Args:
        text: All of it.
        lengths: Of the text, behind each event that brought some, with its moment.
        ending: `stop` or `completed` if all is well.
    """

    text: str
    lengths: list[tuple[float, int]]
    ending: str | None


def read_all(address: str, requests: Sequence[bytes], seconds: float = 300.0) -> list[Recording]:
    """Send each request on a connection of its own, all at once, and read to the end of each."""
    parts = urlsplit(address)
    poller = select.epoll()
    open_sockets: dict[int, tuple[socket.socket, list[tuple[float, bytes]]]] = {}
    recordings: list[Recording] = []
    for request in requests:
        connection = socket.create_connection((parts.hostname, parts.port))
        connection.sendall(request)
        connection.setblocking(False)
        recording = Recording()
        recordings.append(recording)
        open_sockets[connection.fileno()] = connection, recording.pieces
        poller.register(connection, select.EPOLLIN)
    clock, end = time.monotonic, time.monotonic() + seconds
    while open_sockets:
        assert clock() < end, f"{len(open_sockets)} streams have not ended in time"
        for descriptor, _ in poller.poll(1.0):
            connection, pieces = open_sockets[descriptor]
            if data := connection.recv(_PIECE):
                pieces.append((clock(), data))
            else:
                poller.unregister(connection)
                connection.close()
                del open_sockets[descriptor]
    poller.close()
    return recordings


def request(api: str, *, stored: bool, words: str = "Count.") -> bytes:
    """A request for a stream of an API, on a connection that ends with it."""
    if api == "chat":
        body: dict[str, Any] = {"messages": [{"role": "user", "content": words}], "store": stored}
        return post("/v1/chat/completions", {**body, "stream": True}, Connection="close")
    body = {"input": words, "store": stored, "stream": True}
    return post("/v1/responses", body, Connection="close")


def understood(api: str, recording: Recording) -> Told:
    """What a recording says; an AssertionError if its events are not in order."""
    return _chat(recording) if api == "chat" else _response(recording)


def _chat(recording: Recording) -> Told:
    text, ending, lengths = "", None, []
    last: object = None
    for moment, last in recording.events():
        for choice in last["choices"] if isinstance(last, dict) else ():
            if content := choice["delta"].get("content"):
                text += content
                lengths.append((moment, len(text)))
            ending = choice["finish_reason"] or ending
    assert last == "[DONE]"
    return Told(text, lengths, ending)


def _response(recording: Recording) -> Told:
    text, ending, lengths = "", None, []
    last: object = None
    number = 0
    for moment, last in recording.events():
        if not isinstance(last, dict):
            continue
        assert last["sequence_number"] == number
        number += 1
        match last["type"]:
            case "response.output_text.delta":
                text += last["delta"]
                lengths.append((moment, len(text)))
            case "response.completed":
                ending = last["response"]["status"]
                assert last["response"]["output"][0]["content"][0]["text"] == text
    assert last == "[DONE]"
    return Told(text, lengths, ending)


class _Body:
    """Takes the chunks of an HTTP/1.1 answer apart."""

    def __init__(self) -> None:
        self.status = 0
        self.ended = False
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What this adds to the body."""
        rest = self._rest + data
        if not self.status:
            head, found, rest = rest.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return b""
            self.status = int(head.split()[1])
        if self.status != 200:
            return rest
        body: list[bytes] = []
        place = 0
        while (end := rest.find(b"\r\n", place)) >= 0:
            length = int(rest[place:end], 16)
            if end + 4 + length > len(rest):
                break
            body.append(rest[end + 2 : end + 2 + length])
            place = end + 4 + length
            self.ended |= length == 0
        self._rest = rest[place:]
        return b"".join(body)

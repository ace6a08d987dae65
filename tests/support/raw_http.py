"""HTTP by hand, for what no client library would send."""

from __future__ import annotations

import json
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class RawAnswer:
    """An answer; `status` is 0 if the connection ended without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


def connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=10)


def exchange(address: str, sent: bytes, *, half_close: bool = False) -> RawAnswer:
    """Send bytes on a connection of their own and read to the end of the answer."""
    with closing(connect(address)) as connection:
        with suppress(ConnectionError):  # it may refuse before it has read all
            connection.sendall(sent)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> RawAnswer:
    got = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            got += piece
            if (answer := _parsed(got)) is not None:
                return answer
    return _parsed(got, ended=True) or RawAnswer(0, {}, got)


def request(
    method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    """A request as bytes; with a Host header unless there is one."""
    fields = {"Host": "localhost", **(headers or {})}
    if body:
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **fields}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def post(path: str, body: Any, **headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request("POST", path, headers, data)


def _parsed(got: bytes, *, ended: bool = False) -> RawAnswer | None:
    head, separator, body = got.partition(b"\r\n\r\n")
    if not separator:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = headers.get("content-length")
    if first.split()[1] == "100":  # Continue
        return _parsed(body, ended=ended)
    complete = ended or (length is not None and len(body) >= int(length))
    complete |= headers.get("transfer-encoding") == "chunked" and body.endswith(b"0\r\n\r\n")
    return RawAnswer(int(first.split()[1]), headers, body) if complete else None

"""One HTTP request and its answer, each piece handed on in the moment in which it arrives.

The parser is llhttp (`httptools`), which the server depends on anyway: the client may share the cores
of what it measures, and must see each event when it arrives rather than when it gets round to it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from ossia.errors import ServerError

OnBody = Callable[[int, bytes], None]
"""Called with the status and a part of the body."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Args:
        address: URL of the API, with its path, such as "http://localhost:8000/v1".
        api_key: For the Authorization header; None sends none.
    """

    address: str
    api_key: str | None = None

    def head(self, path: str, length: int) -> bytes:
        """The head of a POST of JSON.

        Args:
            path: Behind the address.
            length: Bytes of the body.
        """
        parts = urlsplit(self.address)
        lines = [
            f"POST {parts.path}{path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            "Accept: text/event-stream, application/json",
            "Connection: close",
            f"Content-Length: {length}",
        ]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def post(
    target: Target, path: str, body: bytes, on_body: OnBody, tls: ssl.SSLContext | None
) -> int:
    """Ask, on a connection of its own, and read the answer to its end.

    Args:
        target: Where to.
        path: Behind its address.
        body: JSON.
        on_body: Takes the answer's body as it comes.
        tls: For https addresses; shared by all requests, since making one takes long.

    Returns:
        The status.

    Raises:
        ServerError: no connection, no HTTP, or one that is cut before the answer has a status.
    """
    parts = urlsplit(target.address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        transport, exchange = await loop.create_connection(
            lambda: _Exchange(on_body, loop.create_future()),
            parts.hostname or "",
            port,
            ssl=tls if parts.scheme == "https" else None,
        )
    except OSError as error:
        raise ServerError(f"cannot be reached: {error}") from error
    try:
        transport.write(target.head(path, len(body)) + body)
        return await exchange.ended
    finally:
        transport.abort()


class _Exchange(asyncio.Protocol):
    """The callbacks of transport and parser."""

    def __init__(self, on_body: OnBody, ended: asyncio.Future[int]) -> None:
        self.ended = ended
        self._on_body = on_body
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:  # behind it, what `on_body` has raised
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(ServerError(f"sent what is no HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._fail(ServerError(f"broke off: {exc}"))
        elif not self._status:
            self._fail(ServerError("closed the connection without an answer"))
        elif not self.ended.done():  # a body may end so; whether it was whole is told by its events
            self.ended.set_result(self._status)

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._on_body(self._status, body)

    def on_message_complete(self) -> None:
        if self._status >= 200 and not self.ended.done():  # others only announce the answer
            self.ended.set_result(self._status)

    def _fail(self, error: BaseException) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

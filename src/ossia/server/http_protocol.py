"""HttpProtocol: uvicorn's HTTP/1.1 with bounds on what may come before a request is understood."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ossia.server.api_error import ApiError

_TOO_LARGE = "the request's headers are too large"
_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class HttpProtocol(HttpToolsProtocol):
    """Ends connections whose headers are too large or too slow; the library has no such bounds.

    Attributes:
        max_header_bytes: Of a request's line and headers.
        header_timeout: Seconds until the headers of a request must be there, from the connection
            or the first byte on.
    """

    max_header_bytes: ClassVar[int] = 64 * 2**10
    header_timeout: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._refused = False
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came; what lies before the end of the headers is counted."""
        if self._refused:
            return
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > self.max_header_bytes:
            self._refuse(431, _TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._header_timer is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        """All headers of a request are there."""
        self._in_headers = False
        self._header_bytes = 0
        self._stop_timer()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.max_header_bytes:
            self._refuse(431, _TOO_LARGE)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there; the next bytes are headers again."""
        self._in_headers = True
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, in the shape of all refusals."""
        self._refuse(400, msg)

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(self.header_timeout, self._too_slow)

    def _too_slow(self) -> None:
        self._header_timer = None
        if self._header_bytes:
            self._refuse(408, "the request's headers did not arrive in time")
        else:
            self.transport.close()  # a connection that was opened in advance

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, status: int, message: str) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        body = orjson.dumps(ApiError(message, status=status).to_dict())
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def bounded_protocol(max_header_bytes: int, header_timeout: float) -> type[HttpProtocol]:
    """The protocol with a server's own bounds; uvicorn makes its instances."""
    bounds = {"max_header_bytes": max_header_bytes, "header_timeout": header_timeout}
    return type("BoundedHttpProtocol", (HttpProtocol,), bounds)

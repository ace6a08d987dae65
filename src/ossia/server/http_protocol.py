"""HttpProtocol: uvicorn's HTTP/1.1 with bounds on what clients may send, leave out and not read."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ossia.server.api_error import ApiError
from ossia.server.guards.refusing import refuse
from ossia.server.write_watch import WriteWatch

_TOO_LARGE = "the request's headers are too large"
_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}
_VERSIONS = ("1.1", "1.0")
_MAX_PIPELINED = 16  # requests that may wait behind another one
_LINGER = 5.0  # seconds in which the rest of a body that nobody wants is thrown away


class HttpProtocol(HttpToolsProtocol):
    """Ends connections that are too slow or send too much; the library has no such bounds.

    Attributes:
        max_header_bytes: Of a request's line and headers; and of what is not the body behind them,
            such as trailers.
        header_timeout: Seconds until the headers of a request must be there, from the connection
            or the first byte on.
        write_timeout: Seconds in which a client must take something of what was written.
    """

    max_header_bytes: ClassVar[int] = 64 * 2**10
    header_timeout: ClassVar[float] = 30.0
    write_timeout: ClassVar[float] = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self._num_bytes = 0  # of headers, or since the last piece of a body
        self._in_headers = True
        self._refused = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._watch: WriteWatch | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._watch = WriteWatch(transport, self.write_timeout)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_timers()
        if self._watch is not None:
            self._watch.end()
        # The library tells only the last request, which may wait behind the one that runs.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client is slow."""
        super().pause_writing()
        if self._watch is not None:
            self._watch.begin()

    def data_received(self, data: bytes) -> None:
        """Take in what came; what is not of a body is counted."""
        if self._refused:
            return
        self._num_bytes += len(data)
        super().data_received(data)
        if self._num_bytes > self.max_header_bytes:
            self._refuse(431, _TOO_LARGE)
        elif self._waits and self._header_timer is None:
            self._await_headers()  # empty lines before a request, which begin none

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._header_timer is None:
            self._await_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind a body mean nothing here."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers of a request are there."""
        self._in_headers = False
        self._num_bytes = 0
        self._stop_header_timer()
        if self._refused:
            return
        assert self.parser is not None, "it has just parsed them"
        if self.parser.get_http_version() not in _VERSIONS:
            self._refuse(400, "only HTTP/1.1 and HTTP/1.0 are spoken here")
            return
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.max_header_bytes:
            self._refuse(431, _TOO_LARGE)
        elif len(self.pipeline) >= _MAX_PIPELINED:
            self._refuse(400, "too many requests wait on this connection")
        else:
            super().on_headers_complete()
            if self.pipeline:
                self.flow.resume_reading()  # or else nobody would notice that the client is gone

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        self._num_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there; the next bytes are headers again."""
        self._in_headers = True
        self._num_bytes = 0
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written; what is left of the body that it answers is thrown away."""
        super().on_response_complete()
        if self._watch is not None:
            self._watch.begin()
        if not self._in_headers and not self.transport.is_closing():
            seconds = min(_LINGER, self.header_timeout)
            self._linger_timer = self.loop.call_later(seconds, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, in the shape of all refusals."""
        self._refuse(400, msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._running = cycle
        super()._start_asgi_task(cycle, _cut_short(cycle, app))  # pyright: ignore[reportArgumentType]

    @property
    def _is_idle(self) -> bool:
        return self._running is None or self._running.response_complete

    @property
    def _waits(self) -> bool:
        """Whether it is the client's turn; not once the connection is a WebSocket."""
        return self._in_headers and self._is_idle and self.transport.get_protocol() is self

    @property
    def _answers_another(self) -> bool:
        """Whether what runs is not the request that comes in, or has begun to answer it."""
        running = self._running
        assert running is not None
        return self._in_headers or running is not self.cycle or running.response_started

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(self.header_timeout, self._too_slow)

    def _too_slow(self) -> None:
        self._header_timer = None
        if self._num_bytes:
            self._refuse(408, "the request's headers did not arrive in time")
        else:
            self.transport.close()  # a connection that was opened in advance

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_timers(self) -> None:
        self._stop_header_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _refuse(self, status: int, message: str) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self._running is not None and not self._is_idle and self._answers_another:
            self._running.keep_alive = False  # the connection ends with the other one's answer
            return
        body = orjson.dumps(ApiError(message, status=status).to_dict())
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        if self._watch is not None:
            self._watch.begin()


def _cut_short(cycle: RequestResponseCycle, app: ASGIApp) -> ASGIApp:
    """An application whose requests end without uvicorn's traceback when the server cannot wait."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            if not cycle.response_started:
                await refuse(scope, receive, send, ApiError.unavailable("the server ends"))
            elif not cycle.response_complete:
                cycle.disconnected = True  # or uvicorn calls it a fault of the application
                cycle.transport.close()

    return run


def bounded_protocol(
    max_header_bytes: int, header_timeout: float, write_timeout: float = HttpProtocol.write_timeout
) -> type[HttpProtocol]:
    """The protocol with a server's own bounds; uvicorn makes its instances."""
    bounds = {
        "max_header_bytes": max_header_bytes,
        "header_timeout": header_timeout,
        "write_timeout": write_timeout,
    }
    return type("BoundedHttpProtocol", (HttpProtocol,), bounds)

"""WebSocketProtocol: uvicorn's WebSocket with bounds on clients that do not read or never finish."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, ClassVar, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from ossia.server.write_watch import WriteWatch

_MAX_FRAMES = 2**14  # of one message
_TOO_BIG = 1009  # RFC 6455, section 7.4.1


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Ends connections whose clients read nothing, or cut a message into countless pieces.

    Attributes:
        write_timeout: Seconds in which a client must take something of what was written.
    """

    write_timeout: ClassVar[float] = 60.0
    _watch: WriteWatch

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.app = _cut_short(cast("ASGIApp", self.app))  # pyright: ignore[reportAttributeAccessIssue]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake."""
        self._watch = WriteWatch(cast("asyncio.Transport", transport), self.write_timeout)
        super().connection_made(transport)  # pyright: ignore[reportArgumentType]

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._watch.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client is slow."""
        super().pause_writing()
        self._watch.begin()

    def keepalive_timeout(self) -> None:
        """The client answers no ping."""
        super().keepalive_timeout()
        self._watch.begin()

    def handle_cont(self, event: Frame) -> None:
        """A further piece of a message; its bytes are bounded elsewhere, but it may have none."""
        if len(self.frames) < _MAX_FRAMES:
            super().handle_cont(event)
            return
        self.conn.fail(_TOO_BIG, "a message in too many pieces")
        self.handle_parser_exception()


def _cut_short(app: ASGIApp) -> ASGIApp:
    """An application whose connections end without uvicorn's traceback when the server cannot wait."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return run


def bounded_websocket(write_timeout: float) -> type[WebSocketProtocol]:
    """The protocol with a server's own bound; uvicorn makes its instances."""
    return type("BoundedWebSocketProtocol", (WebSocketProtocol,), {"write_timeout": write_timeout})

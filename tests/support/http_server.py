"""A server on a real socket, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from ossia.server.http_protocol import HttpProtocol
from ossia.server.websocket_protocol import WebSocketProtocol


@contextmanager
def serving(
    app: ASGIApp,
    http: type[HttpProtocol] = HttpProtocol,
    websocket: type[WebSocketProtocol] = WebSocketProtocol,
) -> Iterator[str]:
    """Serve an application; gives its address, such as `http://127.0.0.1:41234`."""
    listener = socket.create_server(("127.0.0.1", 0))
    # Inherited by connections, of which asyncio alone would hold back each second packet for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(app, http=http, log_level="critical", lifespan="on", ws=websocket)
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
        assert not thread.is_alive(), "the server does not end"

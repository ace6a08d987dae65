"""serve: a server from its start to the signal that ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import uvicorn
from starlette.applications import Starlette

from ossia.server.app import create_app
from ossia.server.http_protocol import bounded_protocol
from ossia.server.memory import give_back_when_idle
from ossia.server.service import ModelService
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store.interface import Store
from ossia.server.websocket_protocol import bounded_websocket
from ossia.tools.browser.web import Web

if TYPE_CHECKING:
    from ossia.server.tracing.setup import Tracing

_IDLE_TIMEOUT = 65  # seconds that an unused connection is kept; more than most proxies'
_CLOSING_TIMEOUT = 5  # seconds in which streams that were broken off must have said so


class StartedService(ModelService, Protocol):
    """A model whose life is the server's."""

    def start(self) -> None:
        """Load the model, in the background."""
        ...

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, and let what runs come to its end; whether all has."""
        ...

    async def close(self) -> None:
        """End what still runs."""
        ...


def serve(
    service: StartedService,
    settings: ServerSettings,
    listener: socket.socket,
    *,
    store: Store | None = None,
    tracing: Tracing | None = None,
    web: Web | None = None,
    on_start: Callable[[Callable[[], None]], None] = lambda _stop: None,
) -> bool:
    """Answer requests until a signal comes; in the main thread.

    SIGTERM or SIGINT lets running requests finish for `settings.drain_timeout` seconds; a second
    SIGINT does not wait for them.

    Args:
        service: The model; started and closed here.
        settings: How the server behaves.
        listener: Where clients come in; closed at the end.
        store: Where responses are kept; closed at the end.
        tracing: Where spans are made; closed at the end.
        web: What is searched; closed at the end.
        on_start: Called once the model is being loaded, with what ends the server as a signal does.

    Returns:
        Whether it ended without being hurried.
    """
    state = ServerState(settings=settings, service=service, store=store, tracing=tracing, web=web)

    def started() -> None:
        on_start(server.stop)

    def num_answering() -> int:
        return len(server.server_state.tasks)

    app = create_app(state, _lifespan(state, service, started, num_answering))
    config = uvicorn.Config(
        app,
        http=bounded_protocol(
            settings.max_header_bytes, settings.header_timeout, settings.write_timeout
        ),
        ws=bounded_websocket(settings.write_timeout),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=settings.max_body_bytes,
        timeout_keep_alive=_IDLE_TIMEOUT,
        timeout_graceful_shutdown=_CLOSING_TIMEOUT,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    server = DrainingServer(config, service, settings.drain_timeout)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listener]))
    return not server.force_exit


class DrainingServer(uvicorn.Server):
    """Lets requests finish before it ends, and meanwhile says that it takes no more.

    Args:
        config: Of uvicorn.
        service: Is drained, then closed.
        drain_timeout: Seconds that running requests get.
    """

    def __init__(
        self, config: uvicorn.Config, service: StartedService, drain_timeout: float
    ) -> None:
        super().__init__(config)
        self._service = service
        self._drain_timeout = drain_timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._told = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end; not noted for uvicorn, which would raise it again afterwards."""
        del frame
        if self._loop is None:
            self.should_exit = True
        elif not self._told:
            self.stop()
        elif sig == signal.SIGINT:
            self.should_exit = self.force_exit = True

    def stop(self) -> None:
        """End once what runs has finished; in the main thread, and once the server has started."""
        if not self._told and self._loop is not None:
            self._told = True
            self._loop.call_soon_threadsafe(self._begin_draining)

    def _begin_draining(self) -> None:
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            if not await self._service.drain(self._drain_timeout):
                # Open streams are told that they failed, which a closed socket would not say.
                await self._service.close()
        finally:
            self.should_exit = True


def _lifespan(
    state: ServerState,
    service: StartedService,
    on_start: Callable[[], None],
    num_answering: Callable[[], int],
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        del app
        service.start()
        on_start()
        giving_back = asyncio.create_task(give_back_when_idle(service.status, num_answering))
        # Where nobody waits all is cancelled, this too, and what supervises the engine, which is killed.
        try:
            with suppress(asyncio.CancelledError):
                yield
        finally:
            giving_back.cancel()
            with suppress(asyncio.CancelledError):
                await service.close()
            if state.web is not None:
                await state.web.close()
            if state.store is not None:
                await state.store.close()
            if state.tracing is not None:
                await asyncio.to_thread(state.tracing.close)

    return lifespan


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop

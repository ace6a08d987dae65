"""launch: a server from its options, with someone who is told how it goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ossia.api.model_source import check_revision
from ossia.engine.config import EngineConfig
from ossia.errors import EngineClosedError
from ossia.server.api_error import ApiError
from ossia.server.engine.service import EngineService
from ossia.server.engine.spec import WorkerSpec
from ossia.server.listening import listen, raise_file_limit, url_of
from ossia.server.options import ModelOptions, ServeOptions
from ossia.server.service import ServiceState, ServiceStatus
from ossia.server.serving import serve
from ossia.server.settings import ServerSettings
from ossia.server.store import SqliteStore, Store
from ossia.server.tls import check_tls
from ossia.tools.browser.web import web_of

if TYPE_CHECKING:
    from ossia.server.tracing.setup import Tracing

_POLL = 0.1  # seconds


class Watcher(Protocol):
    """Is told how it goes."""

    def started(self, url: str) -> None:
        """The server listens; the model is still to be loaded."""
        ...

    def changed(self, status: ServiceStatus, device: str | None, max_context: int | None) -> None:
        """It stands otherwise with the model than before."""
        ...


def launch(options: ServeOptions, watcher: Watcher) -> bool:
    """Serve until a signal comes.

    Returns:
        Whether it ended without being hurried.

    Raises:
        RequestError: a revision of a model that has none.
        ServerError: the address cannot be had.
        StoreError: the state folder or the database cannot be used.
        ConfigError: an API key, the state URL, a certificate or an option of the engine makes no
            sense, or a search engine has no key.
        MissingDependencyError: an option needs an extra that is not installed.
        EngineClosedError: the model cannot be loaded, or its process fails again and again.
    """
    settings = options.settings
    check_tls(settings)
    check_revision(options.model.model, options.model.revision)
    web = None if settings.web_search is None else web_of(settings.web_search, os.environ)
    service = EngineService(
        _served_name(options.model), worker_spec(options.model).command(), settings
    )
    raise_file_limit()
    with listen(settings) as listener:
        url = url_of(listener, settings)
        store = open_store(settings)
        tracing = _tracing(settings)
        watch = _Watch(service, watcher)

        def on_start(stop: Callable[[], None]) -> None:
            watcher.started(url)
            watch.begin(stop)

        unhurried = serve(
            service, settings, listener, store=store, tracing=tracing, web=web, on_start=on_start
        )
    if watch.failure is not None:
        raise EngineClosedError(f"the model cannot be served: {watch.failure}")
    return unhurried


def open_store(settings: ServerSettings) -> Store:
    """Where a server keeps its responses; errors as in `launch`."""
    ttl, max_bytes = settings.store_ttl, settings.store_bytes
    if settings.state_url is None:
        return SqliteStore(settings.state_folder, ttl=ttl, max_bytes=max_bytes)
    # An extra, which most do without.
    from ossia.server.store.postgres.address import PostgresAddress

    address = PostgresAddress(settings.state_url)
    from ossia.server.store.postgres.store import PostgresStore

    return PostgresStore(address, ttl=ttl, max_bytes=max_bytes)


def _tracing(settings: ServerSettings) -> Tracing | None:
    if not settings.tracing:
        return None
    from ossia.server.tracing.setup import Tracing

    return Tracing(prompts=settings.trace_prompts)


def worker_spec(model: ModelOptions) -> WorkerSpec:
    """What the engine process is told."""
    engine = EngineConfig(
        max_context=model.max_context,
        max_sequences=model.max_sequences,
        kv_cache_bytes=model.kv_cache_bytes,
        kv_dtype=model.kv_dtype,
        cpu_weights=model.cpu_weights,
        cpu_activations=model.cpu_activations,
        fp8_weights=model.fp8_weights,
        fp8_prefill=model.fp8_prefill,
        deterministic=model.deterministic,
    )
    return WorkerSpec(
        model=model.model,
        revision=model.revision,
        dtype=model.dtype,
        device=model.device,
        engine=engine,
    )


def _served_name(model: ModelOptions) -> str:
    """The name for clients: of a folder its own name, not where it lies."""
    if model.served_name is not None:
        return model.served_name
    path = Path(model.model).expanduser()
    return path.resolve().name if path.is_dir() else model.model


class _Watch:
    """Tells how it stands with the model, and ends a server whose model is given up.

    Attributes:
        failure: Why it was given up.
    """

    def __init__(self, service: EngineService, watcher: Watcher) -> None:
        self.failure: str | None = None
        self._service = service
        self._watcher = watcher
        self._task: asyncio.Task[None] | None = None  # the loop itself holds tasks weakly

    def begin(self, stop: Callable[[], None]) -> None:
        """In the server's loop; `stop` ends the server."""
        self._task = asyncio.get_running_loop().create_task(self._run(stop))

    async def _run(self, stop: Callable[[], None]) -> None:
        known = ServiceState.LOADING
        while self.failure is None:
            status = self._service.status()
            if status.state is ServiceState.FAILED:
                self.failure = status.message
                stop()
            elif status.state is not known:
                known = status.state
                device, context = self._service.device, _max_context(self._service, known)
                self._watcher.changed(status, device, context)
            await asyncio.sleep(_POLL)


def _max_context(service: EngineService, state: ServiceState) -> int | None:
    try:
        return service.max_context if state is ServiceState.READY else None
    except ApiError:
        return None

"""AsyncEngine: a thread around the core's step, one asynchronous stream for each request."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Self

from ossia.engine.core import EngineCore
from ossia.engine.results import RequestResult
from ossia.engine.stats import EngineStats
from ossia.errors import EngineClosedError, RequestError
from ossia.types import Request, TokenOutput

_log = logging.getLogger(__name__)
_CLOSED = "the engine is closed"


@dataclass(slots=True, eq=False)
class _Stream:
    """Where the outputs of one request go."""

    request: Request
    loop: asyncio.AbstractEventLoop
    outputs: deque[TokenOutput | EngineClosedError] = field(
        default_factory=deque[TokenOutput | EngineClosedError]
    )
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class AsyncEngine:
    """Runs requests of any number of tasks on a thread of its own, which ends with `close`.

    Args:
        core: Used by nobody else from now on.
    """

    def __init__(self, core: EngineCore) -> None:
        self._core = core
        self._lock = threading.Condition()
        # Guarded by the lock: what tasks ask for, and who listens.
        self._submitted: deque[_Stream] = deque()
        self._aborted: deque[_Stream] = deque()
        self._streams: dict[str, _Stream] = {}
        self._closing = False
        self._stats = core.stats()
        self._thread = threading.Thread(target=self._run, name="ossia-engine", daemon=True)
        self._thread.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.close)

    def stats(self) -> EngineStats:
        """The core's counters after its last step."""
        with self._lock:
            return self._stats

    def stream(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """Run one request, each output as it comes.

        The request is queued when the first output is asked for. Closing the generator, or
        cancelling the task that waits for it, aborts the request.

        Raises:
            RequestError: it cannot be served; raised at once.
            EngineClosedError: the engine is closed; raised at once, or in place of an output.
        """
        with self._lock:
            self._check(request)
        self._core.admission.output_limit(request)
        return self._stream(request)

    async def generate(self, request: Request) -> RequestResult:
        """Run one request and put its outputs together.

        Raises:
            RequestError: it cannot be served.
            EngineClosedError: the engine was closed before the request ended.
        """
        result = RequestResult.empty(request.request_id, request.sampling.n)
        async for output in self.stream(request):
            result.add(output)
        return result

    def close(self) -> None:
        """End every stream with EngineClosedError and wait for the thread; safe to call twice."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def _stream(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        stream = _Stream(request, asyncio.get_running_loop())
        with self._lock:
            self._check(request)
            self._streams[request.request_id] = stream
            self._submitted.append(stream)
            self._lock.notify()
        unfinished = request.sampling.n
        try:
            while unfinished:
                await stream.arrived.wait()
                stream.arrived.clear()
                while unfinished and stream.outputs:
                    output = stream.outputs.popleft()
                    if isinstance(output, EngineClosedError):
                        raise output
                    unfinished -= output.finish_reason is not None
                    yield output
        finally:
            self._leave(stream, is_finished=unfinished == 0)

    def _check(self, request: Request) -> None:
        if self._closing:
            raise EngineClosedError(_CLOSED)
        if request.request_id in self._streams:
            raise RequestError(f"{request.request_id!r} is in use", field="request_id")

    def _leave(self, stream: _Stream, *, is_finished: bool) -> None:
        with self._lock:
            if is_finished:
                self._streams.pop(stream.request.request_id, None)
            else:
                # Its id stays in use until the engine's thread has taken it out of the core.
                self._aborted.append(stream)
                self._lock.notify()

    def _run(self) -> None:
        """The engine's thread."""
        message = _CLOSED
        try:
            while self._take_orders():
                self._deliver(self._core.step())
                with self._lock:
                    self._stats = self._core.stats()
        except Exception as error:
            _log.exception("the engine's loop failed")
            message = f"the engine's loop failed: {type(error).__name__}: {error}"
        finally:
            self._end(message)

    def _take_orders(self) -> bool:
        """Wait until there is work, and take in what tasks have asked for; False to end."""
        with self._lock:
            while not (self._closing or self._submitted or self._aborted or self._core.has_work):
                self._lock.wait()
            if self._closing:
                return False
            submitted, aborted = list(self._submitted), list(self._aborted)
            self._submitted.clear()
            self._aborted.clear()
        for stream in submitted:
            self._core.submit(stream.request)
        for stream in aborted:
            self._core.abort(stream.request.request_id)
        with self._lock:
            for stream in aborted:
                self._streams.pop(stream.request.request_id, None)
        return True

    def _deliver(self, outputs: list[TokenOutput]) -> None:
        """Hand a step's outputs over, waking each event loop once."""
        with self._lock:
            woken: dict[asyncio.AbstractEventLoop, list[_Stream]] = {}
            for output in outputs:
                stream = self._streams.get(output.request_id)
                if stream is not None:
                    stream.outputs.append(output)
                    woken.setdefault(stream.loop, []).append(stream)
        for loop, streams in woken.items():
            self._wake(loop, streams)

    def _wake(self, loop: asyncio.AbstractEventLoop, streams: list[_Stream]) -> None:
        try:
            loop.call_soon_threadsafe(_set_all, streams)
        except RuntimeError:  # the loop is closed, so nobody can be waiting any more
            with self._lock:
                self._aborted.extend(streams)

    def _end(self, message: str) -> None:
        with self._lock:
            self._closing = True
            streams = list(self._streams.values())
            self._streams.clear()
        for stream in streams:
            stream.outputs.append(EngineClosedError(message))
            self._wake(stream.loop, [stream])
        for request_id in self._core.live_requests:
            self._core.abort(request_id)
        with self._lock:
            self._stats = self._core.stats()


def _set_all(streams: list[_Stream]) -> None:
    for stream in streams:
        stream.arrived.set()

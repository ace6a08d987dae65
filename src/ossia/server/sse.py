"""EventStream: server-sent events as a raw ASGI response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ossia.log import logger
from ossia.server.api_error import ApiError
from ossia.server.disconnect import until_disconnect
from ossia.server.failure_log import log_failure
from ossia.server.pacing import Pacing

_log = logger(__name__)

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"
_MAX_WAITING = 4 * 2**20  # bytes that a reader may lag behind
_LET_WRITE = 2**14  # bytes after which a generator that never waits lets them be sent


def event(data: object, name: str | None = None) -> bytes:
    """One event; `name` is that of its `event:` line."""
    if name is None:
        return b"data: " + orjson.dumps(data) + b"\n\n"
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def error_end(error: ApiError) -> bytes:
    """How a stream of chat or text completions ends on a fault."""
    return event(error.to_dict()) + DONE


_ITEM_SIZE = 256  # bytes that an item counts which is no bytes yet


def _joined(pieces: Sequence[Any]) -> bytes:
    return b"".join(pieces)


class EventStream(Response, Generic[T]):
    """Sends what a generator yields, as it comes; what is ready at once goes out together.

    The generator is closed when the client goes away, or lags too far behind. While nothing
    comes, comments keep the connection open.

    Args:
        events: Pieces of the body, such as `event` makes, or whatever `join` takes. It is run to
            its end and should not raise; if it does, `on_error` makes the end of the stream.
        join: Makes the body of pieces that are ready together.
        opening: What is sent before the first piece comes.
        pacing: Of all streams of the server.
        keep_alive: Seconds of silence before a comment.
        headers: Further ones.
        on_error: The last piece after an exception.
        max_waiting: Bytes that the client may lag behind.
    """

    def __init__(
        self,
        events: AsyncGenerator[T, None],
        *,
        join: Callable[[Sequence[T]], bytes] = _joined,
        opening: bytes = b"",
        pacing: Pacing | None = None,
        keep_alive: float = 15.0,
        headers: Mapping[str, str] | None = None,
        on_error: Callable[[ApiError], bytes] = error_end,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        self._events = events
        self._keep_alive = keep_alive
        self._start = start_message(headers)
        self._on_error = on_error
        self._max_waiting = max_waiting
        self._join = join
        self._opening = opening
        self._pacing = pacing or Pacing()
        self._closing = b""
        self._waiting: list[T] = []
        self._num_waiting = 0
        self._ready = asyncio.Event()
        self._ended = False
        self._lagging = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        source = asyncio.create_task(self._take())
        writer = asyncio.create_task(self._write(send))
        enders = (
            writer,
            asyncio.create_task(until_disconnect(receive)),
            asyncio.create_task(self._lagging.wait()),
        )
        try:
            with self._pacing.open():
                await asyncio.wait(enders, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (source, *enders):
                task.cancel()
            await asyncio.gather(source, *enders, return_exceptions=True)
            await self._events.aclose()
        if not writer.cancelled() and (error := writer.exception()) is not None:
            raise error

    async def _take(self) -> None:
        try:
            async for piece in self._events:
                self._put(piece)
                if self._num_waiting > _LET_WRITE:
                    await asyncio.sleep(0)
                if self._num_waiting > self._max_waiting:
                    _log.warning("a stream is dropped: its client does not read")
                    self._lagging.set()
                    return
        except Exception as error:
            self._closing = self._on_error(log_failure(_log, "a stream failed", error))
        finally:
            self._ended = True
            self._ready.set()

    def _put(self, piece: T) -> None:
        self._waiting.append(piece)
        self._num_waiting += len(piece) if isinstance(piece, bytes) else _ITEM_SIZE
        self._ready.set()

    async def _write(self, send: Send) -> None:
        await send(self._start)
        if self._opening:
            await send(body_message(self._opening))
        while (piece := await self._next()) is not None:
            await send(body_message(piece))
            if (pause := self._pacing.pause) and not self._ended:
                await asyncio.sleep(pause)
        await send(body_message(self._closing, more=False))

    async def _next(self) -> bytes | None:
        """All that waits, or a comment after a silence; None at the end."""
        while not self._waiting:
            if self._ended:
                return None
            self._ready.clear()
            try:
                async with asyncio.timeout(self._keep_alive):
                    await self._ready.wait()
            except TimeoutError:
                return COMMENT
        waiting, self._waiting = self._waiting, []
        self._num_waiting = 0
        return self._join(waiting)


def start_message(headers: Mapping[str, str] | None) -> Message:
    """The ASGI message that begins an event stream."""
    pairs = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        *((name.lower().encode(), text.encode()) for name, text in (headers or {}).items()),
    ]
    return {"type": "http.response.start", "status": 200, "headers": pairs}


def body_message(piece: bytes, *, more: bool = True) -> Message:
    """The ASGI message with a piece of the body."""
    return {"type": "http.response.body", "body": piece, "more_body": more}

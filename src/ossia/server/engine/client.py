"""EngineClient: many requests over one connection to an engine process."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Callable
from itertools import count

from ossia.engine.stats import EngineStats
from ossia.errors import EngineClosedError
from ossia.server.engine.admission import Ticket
from ossia.server.engine.remote_stream import RemoteStream
from ossia.server.engine.reports import read_accepted, read_refused
from ossia.server.engine.request_frames import abort_frame, submit_frame
from ossia.server.engine.step_frames import read_outputs, read_stats
from ossia.server.engine.wire import Kind
from ossia.types import Request

GRACE = 10.0
"""Seconds behind a deadline after which an engine that has not ended a request counts as stuck."""


class EngineClient:
    """An `AsyncTokenEngine` whose engine is elsewhere. For one event loop.

    Reading and writing is not its business: it is fed with frames and hands frames on.

    Args:
        send: Takes a frame for the engine; does not block.

    Attributes:
        stats: The engine's counters after its last step; None before the first.
        num_steps: Reports of steps so far.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._keys = count(1)
        # The reader of a stream owns it; when it is dropped, its request is aborted.
        self._streams: weakref.WeakValueDictionary[int, RemoteStream] = (
            weakref.WeakValueDictionary()
        )
        self._request_ids: dict[int, str] = {}
        self._closed: EngineClosedError | None = None
        self.stats: EngineStats | None = None
        self.num_steps = 0
        self._has_left = False  # since the last step

    @property
    def owes_step(self) -> bool:
        """Whether the engine has something to do: a request that has not ended, or is to be."""
        return self._has_left or bool(self._request_ids)

    def stream(self, request: Request, *, ticket: Ticket | None = None) -> RemoteStream:
        """Run one request, each output as it comes. It is on its way when this returns.

        Closing or dropping the stream, or cancelling the task that waits for it, aborts the
        request.

        Args:
            request: `make_mask` must be None or BoundMasks. Its id only has to tell the caller
                which one it is: requests travel under numbers.
            ticket: Told when the first output comes, and when the request has ended.

        Raises:
            RequestError: it cannot be sent. What the engine has against it is raised by
                `RemoteStream.accepted`, or in place of the first output.
            EngineClosedError: there is no engine any more.
        """
        if self._closed is not None:
            raise self._closed
        key = next(self._keys)
        self._send(submit_frame(key, request))
        loop = asyncio.get_running_loop()
        stream = RemoteStream(
            request.request_id,
            request.sampling.n,
            loop=loop,
            leave=lambda: self._leave(key),
            ticket=ticket,
        )
        self._streams[key] = stream
        self._request_ids[key] = request.request_id
        if request.deadline < math.inf:
            seconds = max(0.0, request.deadline - time.monotonic()) + GRACE
            stream.end_with(loop.call_later(seconds, self._give_up, key))
        return stream

    def feed(self, kind: Kind, payload: bytes) -> None:
        """Take in a frame from the engine: ACCEPTED, REFUSED or STEP."""
        if kind is Kind.STEP:
            self._feed_step(payload)
        elif kind is Kind.ACCEPTED:
            stream = self._streams.get(read_accepted(payload))
            if stream is not None:
                stream.accept()
        else:
            key, error = read_refused(payload)
            stream = self._streams.get(key)
            self._forget(key)
            if stream is not None:
                stream.fail(error)

    def fail(self, message: str) -> None:
        """The engine is gone: every open stream ends with EngineClosedError."""
        self._closed = EngineClosedError(message)
        streams = list(self._streams.values())
        self._streams.clear()
        self._request_ids.clear()
        for stream in streams:
            # One error for each: tracebacks are added to what is raised.
            stream.fail(EngineClosedError(message))

    def _feed_step(self, payload: bytes) -> None:
        """Put the outputs of a step where they belong, and wake each reader once."""
        self.stats = read_stats(payload)
        self.num_steps += 1
        self._has_left = False
        woken: list[RemoteStream] = []
        for key, output in read_outputs(payload, self._request_ids):
            stream = self._streams.get(key)
            if stream is None:
                continue
            if stream.put(output):
                self._forget(key)
            if not woken or woken[-1] is not stream:
                woken.append(stream)
        for stream in woken:
            stream.wake()

    def _leave(self, key: int) -> None:
        """A stream has ended before its request has."""
        if key in self._request_ids:
            self._forget(key)
            self._has_left = True
            self._send(abort_frame((key,)))

    def _forget(self, key: int) -> None:
        self._streams.pop(key, None)
        self._request_ids.pop(key, None)

    def _give_up(self, key: int) -> None:
        stream = self._streams.get(key)
        if stream is not None:
            self._leave(key)
            stream.fail(EngineClosedError("the engine does not answer; the time is up"))

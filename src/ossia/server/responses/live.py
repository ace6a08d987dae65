"""Live: a response in the making, independent of who listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from ossia.api.events import Event
from ossia.log import logger
from ossia.server.api_error import ApiError
from ossia.server.failure_log import log_failure
from ossia.server.pacing import Pacing
from ossia.server.responses.event_log import JsonObject
from ossia.server.responses.fold import ResponseFold

_log = logger(__name__)


class Live:
    """Runs an answer into a fold, from its construction on.

    It runs whether or not somebody takes its batches, so that a response in the background needs
    no listener; a foreground one is to be closed when its client goes away.

    Args:
        events: Of the answer, admitted already.
        fold: Has begun.
        at_end: Awaited before clients get to know that the response has ended, unless it was
            cancelled; such as to store it.
        pacing: Of all streams of the server.
        release: Called when it is over, however it ended; maybe more than once.
    """

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        fold: ResponseFold,
        at_end: Callable[[ResponseFold], Awaitable[None]] | None = None,
        pacing: Pacing | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        self.fold = fold
        self._events = events
        self._at_end = at_end
        self._pacing = pacing or Pacing()
        self._release = release
        self._fresh = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def batches(self) -> AsyncGenerator[list[JsonObject], None]:
        """The stream's events, those together that are ready together; for one listener."""
        with self._pacing.open():
            while True:
                over = self.fold.over
                if over:
                    await self.finished()
                if batch := self.fold.take():
                    yield batch
                if over:
                    return
                if (pause := self._pacing.pause) and not self.fold.over:
                    await asyncio.sleep(pause)
                await self._fresh.wait()
                self._fresh.clear()

    async def finished(self) -> None:
        """Wait for the end."""
        await asyncio.wait((self._task,))

    async def close(self) -> None:
        """End it now, if it has not ended: the model stops, and the response is cancelled.

        What has ended is stored first, so that nobody goes on from a history without it.
        """
        if not self.fold.over:
            self._task.cancel()
        await asyncio.wait((self._task,))
        # A task that never began has closed nothing.
        await self._events.aclose()
        self._end()

    async def _run(self) -> None:
        try:
            await self._answer()
            if self._at_end is not None:
                await self._at_end(self.fold)
        except Exception:
            _log.exception("the end of a response failed")
        finally:
            self._end()

    async def _answer(self) -> None:
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    self.fold.proceed()
                    self.fold.push(event)
                    self._fresh.set()
            if not self.fold.over:
                self.fold.fail(ApiError.internal())
        except Exception as error:
            self.fold.fail(log_failure(_log, "a response failed", error))

    def _end(self) -> None:
        if self._release is not None:
            self._release()
        self.fold.cancel()
        self._fresh.set()

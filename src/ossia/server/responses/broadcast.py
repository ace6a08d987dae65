"""Broadcast: the events of one response in the making, for any number of listeners from any place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from ossia.log import logger
from ossia.server.responses.event_log import JsonObject
from ossia.server.responses.fold import ResponseFold
from ossia.server.responses.live import Live

_log = logger(__name__)

AtEnd = Callable[["Broadcast"], Awaitable[None]]


class Broadcast:
    """Takes the batches of a response, keeps them, and tells whoever follows.

    Args:
        live: Nobody else takes its batches.
        at_end: Awaited when all events are there, however the response ended, before followers
            get to know of the last ones.
    """

    def __init__(self, live: Live, at_end: AtEnd) -> None:
        self.events: list[JsonObject] = []
        self._live = live
        self._at_end = at_end
        self._num_told = 0  # events that followers know of
        self._over = False
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def fold(self) -> ResponseFold:
        """The response as it stands."""
        return self._live.fold

    async def batches(self, after: int = -1) -> AsyncGenerator[list[JsonObject], None]:
        """Events with a higher sequence number: those that are there at once, then as they come."""
        place = after + 1  # an event's number is its place
        while True:
            over, changed = self._over, self._changed
            if place < self._num_told:
                batch = self.events[place : self._num_told]
                place = self._num_told
                yield batch
            elif over:
                return
            else:
                await changed.wait()

    async def finished(self) -> None:
        """Wait for the end; the response goes on if the wait is cancelled."""
        await asyncio.shield(self._task)

    async def close(self) -> None:
        """End the response now, if it has not ended, and wait until that is stored."""
        await self._live.close()
        await self.finished()

    async def _run(self) -> None:
        try:
            async for batch in self._live.batches():
                self.events += batch
                if not self.fold.over:
                    self._tell()
        finally:
            try:
                await self._at_end(self)
            except Exception:
                _log.exception("the end of a response failed")
            finally:
                self._over = True
                self._tell()

    def _tell(self) -> None:
        self._num_told = len(self.events)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

"""ActiveResponses: stored responses in the making, by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ossia.server.responses.broadcast import Broadcast
from ossia.server.responses.event_log import JsonObject
from ossia.server.responses.fold import ResponseFold
from ossia.server.responses.live import Live

Keep = Callable[[ResponseFold, list[JsonObject]], Awaitable[None]]


class ActiveResponses:
    """What can be followed or cancelled while it is made, and how it ends up in the store."""

    def __init__(self) -> None:
        self._broadcasts: dict[str, Broadcast] = {}

    def get(self, response_id: str) -> Broadcast | None:
        """The response, while it is being made."""
        return self._broadcasts.get(response_id)

    async def running(self, response_id: str) -> Broadcast | None:
        """The response, while its end is open; one that has ended is in the store afterwards.

        So nobody hears of an end that a crash could undo.
        """
        broadcast = self._broadcasts.get(response_id)
        if broadcast is None or not broadcast.fold.over:
            return broadcast
        await broadcast.finished()
        return None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._broadcasts)

    def add(self, live: Live, keep: Keep, release: Callable[[], None]) -> Broadcast:
        """Follow a response to its end.

        Args:
            live: Has just begun.
            keep: Stores the response and its events, in the end.
            release: Called when that is done, or has failed.
        """
        response_id = live.fold.response["id"]

        async def at_end(broadcast: Broadcast) -> None:
            try:
                await keep(broadcast.fold, broadcast.events)
            finally:
                del self._broadcasts[response_id]
                release()

        broadcast = Broadcast(live, at_end)
        self._broadcasts[response_id] = broadcast
        return broadcast

    async def close(self) -> None:
        """Cancel all that are left."""
        await asyncio.gather(*(one.close() for one in list(self._broadcasts.values())))

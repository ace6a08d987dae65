"""ActiveResponses: stored responses in the making, by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ossia.errors import StoreError
from ossia.log import logger
from ossia.server.responses.broadcast import Broadcast
from ossia.server.responses.fold import ResponseFold
from ossia.server.responses.live import Live
from ossia.server.store import Store

_log = logger(__name__)


class ActiveResponses:
    """What can be followed or cancelled while it is made, and how it ends up in the store."""

    def __init__(self) -> None:
        self._broadcasts: dict[str, Broadcast] = {}

    def get(self, response_id: str) -> Broadcast | None:
        """The response, while it is being made."""
        return self._broadcasts.get(response_id)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._broadcasts)

    def add(
        self, live: Live, store: Store, keep: Callable[[ResponseFold], Awaitable[None]]
    ) -> Broadcast:
        """Follow a response to its end.

        Args:
            live: Has just begun.
            store: Where its events go in the end.
            keep: Stores the response; asked for here where it was cancelled.
        """
        response_id = live.fold.response["id"]

        async def at_end(broadcast: Broadcast) -> None:
            try:
                if broadcast.fold.response["status"] == "cancelled":
                    await keep(broadcast.fold)
                await store.append_events(response_id, broadcast.events)
            except StoreError as error:
                _log.error("the events of a response were not kept: %s", error)
            finally:
                del self._broadcasts[response_id]

        broadcast = Broadcast(live, at_end)
        self._broadcasts[response_id] = broadcast
        return broadcast

    async def close(self) -> None:
        """Cancel all that are left."""
        await asyncio.gather(*(one.close() for one in list(self._broadcasts.values())))

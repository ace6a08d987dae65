"""DirectStream: server-sent events written as they come, without a queue on the way.

What a client is slow to take waits in the response itself, where further text makes the next
delta longer instead of more events. So nothing piles up, and a token costs few turns of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from ossia.log import logger
from ossia.server.disconnect import until_disconnect
from ossia.server.responses.running import Making
from ossia.server.sse import COMMENT, body_message, start_message

_log = logger(__name__)

_MAX_STALL: Final = 4  # times `keep_alive` that a client may leave a piece unread


class DirectStream:
    """Streams a response in the foreground: it ends with its stream.

    Args:
        making: The response; closed when the client goes away, or takes nothing for too long.
        pieces: Of the body.
        keep_alive: Seconds of silence before a comment.
        headers: Further ones.
    """

    def __init__(
        self,
        making: Making,
        pieces: AsyncGenerator[bytes, None],
        *,
        keep_alive: float,
        headers: Mapping[str, str],
    ) -> None:
        self._making = making
        self._pieces = pieces
        self._keep_alive = keep_alive
        self._start = start_message(headers)
        self._is_sending = False
        self._num_sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        del scope
        writer = asyncio.create_task(self._write(send))
        others = (
            asyncio.create_task(until_disconnect(receive)),
            asyncio.create_task(self._keep_open(send)),
        )
        try:
            await asyncio.wait((writer, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writer, *others):
                task.cancel()
            await asyncio.gather(writer, *others, return_exceptions=True)
            await self._pieces.aclose()
            await self._making.close()
        if not writer.cancelled() and (error := writer.exception()) is not None:
            raise error

    async def _write(self, send: Send) -> None:
        self._is_sending = True
        await send(self._start)
        # The first event may be long in coming; the client is to know now that it was heard.
        await send(body_message(b""))
        self._is_sending = False
        async for piece in self._pieces:
            self._is_sending = True
            self._num_sent += 1
            await send(body_message(piece))
            self._is_sending = False
        self._is_sending = True
        await send(body_message(b"", more=False))

    async def _keep_open(self, send: Send) -> None:
        """Comment on silence; returns when the client takes nothing."""
        stalled = 0
        while stalled < _MAX_STALL:
            before = self._num_sent
            await asyncio.sleep(self._keep_alive)
            if before != self._num_sent:
                stalled = 0
            elif self._is_sending:
                stalled += 1
            else:
                stalled = 0
                async with asyncio.timeout(_MAX_STALL * self._keep_alive):
                    await send(body_message(COMMENT))
        _log.warning("a stream is dropped: its client does not read")

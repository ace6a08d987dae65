"""WriteWatch: ends connections whose clients read nothing, so that what waits for them is freed."""

from __future__ import annotations

import asyncio


class WriteWatch:
    """Looks at a connection from time to time; the library would wait for its client for ever.

    Args:
        transport: Of the connection.
        timeout: Seconds without a byte taken after which it is ended.
    """

    def __init__(self, transport: asyncio.Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None
        self._size = 0

    def begin(self) -> None:
        """Something was written that the client has perhaps not taken yet."""
        if self._timer is None and self._transport.get_write_buffer_size() > 0:
            self._wait()

    def end(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._size = self._transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        self._timer = None
        size = self._transport.get_write_buffer_size()
        if size == 0:
            return
        if size < self._size:
            self._wait()
        else:
            self._transport.abort()

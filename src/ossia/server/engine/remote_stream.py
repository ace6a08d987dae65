"""RemoteStream: the outputs of one request that runs in the engine process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from ossia.server.engine.admission import Ticket
from ossia.types import TokenOutput


class RemoteStream(AsyncGenerator[TokenOutput, None]):
    """What `EngineClient.stream` gives.

    It is no generator function, as one that was never started would not run its `finally`: this
    ends its request even if it is dropped before anybody has asked for an output.

    Args:
        request_id: The caller's name of the request.
        num_continuations: That have to end.
        loop: Whose tasks read it.
        leave: Ends the request in the engine.
        ticket: Counts the request; None counts nothing.
    """

    def __init__(
        self,
        request_id: str,
        num_continuations: int,
        *,
        loop: asyncio.AbstractEventLoop,
        leave: Callable[[], None],
        ticket: Ticket | None,
    ) -> None:
        self.request_id = request_id
        self._loop = loop
        self._leave = leave
        self._ticket = ticket
        self._outputs: deque[TokenOutput] = deque()
        self._unfinished = num_continuations
        self._accepted = False
        self._error: Exception | None = None
        self._over = False  # nothing more comes from the engine
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def accepted(self) -> None:
        """Wait until the engine has queued the request.

        Raises:
            OssiaError: what the engine has against it.
            EngineClosedError: the engine ended.
        """
        while not self._accepted and self._error is None:
            await self._wait()
        if not self._accepted and self._error is not None:
            raise self._error

    async def __anext__(self) -> TokenOutput:
        """The next output."""
        while not self._outputs:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            await self._wait()
        return self._outputs.popleft()

    async def asend(self, value: None, /) -> TokenOutput:
        """The next output; there is nothing to send."""
        del value
        return await self.__anext__()

    async def athrow(
        self,
        typ: Any,  # noqa: ANN401
        val: Any = None,  # noqa: ANN401
        tb: TracebackType | None = None,
        /,
    ) -> TokenOutput:
        """End the request and raise the exception."""
        self.abort()
        error = val if isinstance(val, BaseException) else typ
        raise error if tb is None else error.with_traceback(tb)

    async def aclose(self) -> None:
        """End the request; does nothing if it has ended."""
        self.abort()

    def abort(self) -> None:
        """`aclose`, for those that cannot await."""
        self._outputs.clear()
        if not self._over:
            self._finish()
            self._leave()

    def end_with(self, timer: asyncio.TimerHandle) -> None:
        """Cancel a timer when the request ends."""
        self._timer = timer

    def accept(self) -> None:
        """The engine has queued it."""
        self._accepted = True
        self.wake()

    def put(self, output: TokenOutput) -> bool:
        """The engine has produced something; `wake` tells the reader.

        Returns:
            Whether it was the last.
        """
        if self._ticket is not None:
            self._ticket.start()
        self._outputs.append(output)
        if output.finish_reason is not None:
            self._unfinished -= 1
            if self._unfinished == 0:
                self._finish()
        return self._over

    def wake(self) -> None:
        """Let the reader go on if it waits."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """Nothing more comes; the reader gets what there is, then the error."""
        self._error = error
        self._finish()
        self.wake()

    def _finish(self) -> None:
        self._over = True
        if self._ticket is not None:
            self._ticket.end()
        if self._timer is not None:
            self._timer.cancel()

    async def _wait(self) -> None:
        assert self._waiter is None, "one task reads a stream"
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:  # the task is cancelled
            self.abort()
            raise
        finally:
            self._waiter = None

    def __del__(self) -> None:
        if not self._over:
            # The collector may run on any thread, and when the loop has been closed.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_leave, self._leave, self._ticket)


def _leave(leave: Callable[[], None], ticket: Ticket | None) -> None:
    if ticket is not None:
        ticket.end()
    leave()

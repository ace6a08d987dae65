"""WorkerProcess: one life of an engine process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence

from ossia.server.allocator import without_malloc
from ossia.server.engine.wire import FrameSplitter, Kind

_PIECE = 1 << 20
_LAST_MOMENTS = 2.0  # seconds between the end of its output and its own


class WorkerProcess:
    """An engine process and its pipes. For one event loop.

    Args:
        process: Started with pipes as standard input and output.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._sink = process.stdin
        self._source = process.stdout

    @classmethod
    async def start(cls, command: Sequence[str]) -> WorkerProcess:
        """Start the program.

        Raises:
            OSError: there is no such program, or no room for it.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe,
            stdout=pipe,
            limit=2 * _PIECE,
            env=without_malloc(os.environ),
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def send(self, frame: bytes) -> None:
        """Write a frame, now or when there is room; to a process that is gone, never."""
        if not self._sink.is_closing():
            self._sink.write(frame)

    async def frames(self) -> AsyncIterator[list[tuple[Kind, bytes]]]:
        """What it writes, several frames at once where they came at once, until it ends.

        Raises:
            WireError: it is not the program that it should be.
        """
        splitter = FrameSplitter()
        while data := await self._source.read(_PIECE):
            yield list(splitter.feed(data))

    def close(self) -> None:
        """Tell it to end: it does when its input does."""
        self._sink.close()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> str:
        """Wait for its end, which its output's end announces; kill it if it does not come.

        Returns:
            How it ended, for people.
        """
        self._sink.close()
        try:
            status = await asyncio.wait_for(self._process.wait(), _LAST_MOMENTS)
        except TimeoutError:
            self.kill()
            status = await self._process.wait()
        if status >= 0:
            return f"the engine process ended with status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"the engine process was ended by {name}"

"""Outbox: frames on their way to the server, which never keep the engine waiting."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

_PIECE = 1 << 20


class Outbox:
    """Writes frames to a pipe, from any thread.

    A frame is written at once by whoever sends it, since to hand it to a thread would mean to wait
    for the interpreter's lock at every step. Only what a full pipe does not take is left to a
    thread.

    Args:
        fd: The pipe; it is made non-blocking.
        lost: Called when nobody reads it any more.
    """

    def __init__(self, fd: int, lost: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._lost = lost
        self._changed = threading.Condition()
        self._pending = bytearray()  # guarded by the condition
        threading.Thread(target=self._flush, name="ossia-outbox", daemon=True).start()

    def send(self, frame: bytes) -> None:
        """Write a frame, or what can be written of it for now."""
        with self._changed:
            written = 0 if self._pending else self._write(frame)
            if written < len(frame):
                self._pending += frame[written:]
                self._changed.notify_all()

    def wait_empty(self, timeout: float) -> None:
        """Wait until everything is written, or so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, timeout)

    def _flush(self) -> None:
        """The thread: write what is pending whenever there is room for it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending)
            select.select([], [self._fd], [])
            with self._changed:
                written = self._write(bytes(self._pending[:_PIECE]))
                del self._pending[:written]
                if not self._pending:
                    self._changed.notify_all()

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._lost()
            return len(data)

"""Ctrl-C that ends an answer instead of the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed; asked between two tokens, when the engine is at rest."""

    def __init__(self) -> None:
        self.requested = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt  # twice: whoever presses does not want to wait
        self.requested = True


@contextmanager
def catch_interrupt() -> Iterator[Interrupt]:
    """Within the block the first Ctrl-C is only noted. Elsewhere than in the main thread, none is."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt._handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)

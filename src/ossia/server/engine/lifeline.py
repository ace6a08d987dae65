"""Lifeline: an engine process that ends with the server that started it, and only then.

The pipes are the standard streams, which every system can hand to a child. They are moved away at
once, so that nothing that prints can break the protocol: what is printed goes to standard error.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

from ossia.server.engine.wire import FrameSplitter, Kind

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_PIECE = 1 << 20


def take_pipes() -> tuple[int, int]:
    """The pipes from and to the server: file descriptors that no child inherits."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink


def tie_to_parent() -> None:
    """Die with the server, and by nothing that is meant for the server.

    Ctrl+C on a terminal and systemd's stop reach all processes of a service. It is for the server
    to say when this one ends: it lets answers finish first, then closes the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        # Beside the end of the pipe, which a process that is stuck would not see.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def read_orders(source: int, handle: Callable[[Kind, bytes], None]) -> None:
    """Hand on frames until the server is gone, then end the process.

    Nothing is tidied up: whatever the main thread is doing, nobody waits for it any more.
    """
    splitter = FrameSplitter()
    while data := os.read(source, _PIECE):
        for kind, payload in splitter.feed(data):
            handle(kind, payload)
    os._exit(0)

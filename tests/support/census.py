"""What a process holds: memory, files, threads, tasks, objects; asked for over a socket."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

VARIABLE = "OSSIA_TEST_CENSUS"
"""Names the Unix socket on which a process of tests answers."""


def answer_in_background() -> None:
    """Answer on the socket that the environment names, if it names one."""
    if (path := os.environ.pop(VARIABLE, None)) is not None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        threading.Thread(target=_answer, args=(listener,), name="census", daemon=True).start()


def ask(path: Path, *, trim: bool = False) -> dict[str, Any]:
    """What a process holds now.

    Args:
        path: Of its socket.
        trim: Let it give back first what it does not use.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(b"t" if trim else b"n")
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while piece := connection.recv(65536):
            got += piece
    return json.loads(got)


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process that is in RAM and its own."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


def _answer(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            if connection.recv(1) == b"t":
                gc.collect()
                if sys.platform == "linux":
                    ctypes.CDLL(None).malloc_trim(0)
            connection.sendall(json.dumps(_taken()).encode())


def _taken() -> dict[str, Any]:
    objects = gc.get_objects()
    tasks = [one for one in objects if isinstance(one, asyncio.Task)]
    kinds = Counter(type(one).__qualname__ for one in objects)
    return {
        "resident": resident_bytes(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tasks": sum(not task.done() for task in tasks),
        "objects": len(objects),
        "kinds": dict(kinds.most_common(60)),
    }

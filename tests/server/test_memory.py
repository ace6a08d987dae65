"""What a rush of requests has taken goes back to the system once it is over."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ossia.server import memory
from ossia.server.allocator import with_malloc, without_malloc
from ossia.server.service import ServiceState, ServiceStatus
from support.scripted_serve import command
from support.serve_process import started

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")


@on_linux
def test_python_is_started_with_the_allocator_that_gives_back():
    assert with_malloc({"A": "b"}) == {"A": "b", "PYTHONMALLOC": "malloc"}


def test_an_allocator_that_someone_has_chosen_stays():
    assert with_malloc({"PYTHONMALLOC": "debug"}) is None
    assert with_malloc({"PYTHONMALLOC": "malloc"}) is None
    assert without_malloc({"PYTHONMALLOC": "debug"}) == {"PYTHONMALLOC": "debug"}


def test_the_engine_keeps_the_faster_one():
    assert without_malloc({"A": "b", "PYTHONMALLOC": "malloc"}) == {"A": "b"}


@on_linux
def test_the_server_has_it_and_its_engine_has_not(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONMALLOC", raising=False)
    with started(command(None), tmp_path / "log") as server:
        pid = server.process.pid
        (engine,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert b"PYTHONMALLOC=malloc" in _environ(pid)
        assert not any(one.startswith(b"PYTHONMALLOC=") for one in _environ(int(engine)))
        server.end()


def _environ(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


class Server:
    """How it stands with a server, by the second."""

    def __init__(self, *seconds: tuple[ServiceState, int, int, int]) -> None:
        self._seconds = iter(seconds)
        self._answering = 0

    def status(self) -> ServiceStatus:
        state, running, waiting, self._answering = next(self._seconds, (None, 0, 0, 0))
        if state is None:
            raise asyncio.CancelledError
        return ServiceStatus(state=state, running=running, waiting=waiting)

    def num_answering(self) -> int:
        return self._answering


def _given_back(monkeypatch: pytest.MonkeyPatch, server: Server) -> list[int]:
    """The seconds after which memory was given back."""
    second, given = 0, []

    async def sleep(seconds: float) -> None:
        nonlocal second
        assert seconds == memory.PERIOD
        second += 1

    # In that module only: other threads have loops that sleep, too.
    monkeypatch.setattr(
        memory, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread)
    )
    monkeypatch.setattr(memory, "give_back", lambda: given.append(second))
    try:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(memory.give_back_when_idle(server.status, server.num_answering))
    finally:
        gc.unfreeze()
    return given


LOADING, READY = ServiceState.LOADING, ServiceState.READY


def test_memory_goes_back_once_the_model_is_loaded_and_after_each_rush(monkeypatch):
    server = Server(
        (LOADING, 0, 0, 0),
        (LOADING, 0, 0, 0),
        (READY, 0, 0, 0),  # second 2
        (READY, 0, 0, 0),
        (READY, 2, 3, 5),
        (READY, 0, 0, 1),  # nothing runs, but someone still reads
        (READY, 0, 0, 0),  # second 6
        (READY, 0, 0, 0),
        (READY, 0, 1, 0),
        (READY, 0, 0, 0),  # second 9
    )
    assert _given_back(monkeypatch, server) == [2, 6, 9]


def test_a_server_that_is_never_idle_gives_back_every_minute(monkeypatch):
    busy = [(READY, 1, 0, 1)] * 130
    assert _given_back(monkeypatch, Server((READY, 0, 0, 0), *busy)) == [0, 60, 120]


@on_linux
def test_pages_do_go_back():
    from ossia.server.allocator import give_back
    from support.census import resident_bytes

    give_back()
    before = resident_bytes()
    # Small enough that the C library keeps them, the last one so that they are not at the end.
    pieces = [os.urandom(60_000) for _ in range(1000)]
    last = pieces.pop()
    held = resident_bytes()
    pieces.clear()
    give_back()
    assert held - before > 50e6
    assert resident_bytes() - before < 10e6, len(last)

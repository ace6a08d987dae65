"""Two hours of a server's life in ten minutes: nothing may grow.

    cd tests && python -m fuzz.soak
    cd tests && python -m fuzz.soak --minutes 1 --rate 4 --model demo

The real `ossia serve` with a real engine gets requests of every kind (`support/mixed_requests.py`), each
at its own time whether or not the others have been answered: 9 a second, some of which are several
requests, are 7,200 requests in ten minutes, as many as one a second in two hours. Part of the clients leave in the middle. The store keeps things for so short,
and so few of them, that it has to forget all the time. Between phases nothing is asked for a while, and
what the server and its engine hold is counted; what they hold at the end is compared with what they
held when they were warm.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.request import urlopen

from ossia.engine.config import EngineConfig
from ossia.server.engine.spec import WorkerSpec
from support import census, watched_worker
from support.mixed_requests import MixedRequests
from support.scripted_serve import command
from support.serve_process import ServerProcess, started

_REST = 5.0  # seconds without requests before a count
_STORE_TTL = 60.0  # seconds
_STORE_BYTES = 4 * 2**20
_CACHE_BYTES = 4 * 2**20  # small, so that all of it has been used when it is warm
_MOST_OPEN = 200  # requests that may wait for their answers


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a server and its engine hold; memory in bytes."""

    server_memory: int
    engine_memory: int
    objects: int
    engine_objects: int
    tasks: int
    threads: int
    engine_threads: int
    descriptors: int
    engine_descriptors: int
    running: float
    waiting: float
    pages: float
    store: int
    kinds: Mapping[str, int]  # of the server's objects, the most frequent ones


class Soak:
    """One run.

    Args:
        server: Under test.
        folder: With its state and the socket of its census.
        given: The command line.
    """

    def __init__(self, server: ServerProcess, folder: Path, given: argparse.Namespace) -> None:
        self._server = server
        self._folder = folder
        self._given = given
        self._draw = Random(given.seed)
        self._mixed = MixedRequests(
            server.address, given.model, self._draw, max_tokens=given.tokens, leaving=0.25
        )
        self._open: set[asyncio.Task[None]] = set()
        self._late = 0
        self._failure: BaseException | None = None

    async def run(self) -> list[Holding]:
        """What is held when it is warm, and after each phase."""
        phases = self._given.phases
        held: list[Holding] = []
        print(
            "phase  requests  MB server engine  objects          tasks  threads  files  pages  MB store"
        )
        for phase in range(phases):
            await self._ask_for(self._given.minutes * 60 / phases - _REST)
            await asyncio.gather(*self._open, return_exceptions=True)
            self._check()
            await asyncio.sleep(_REST)
            one = await asyncio.to_thread(self._count)
            held.append(one)
            print(
                f"{phase:5} {self._mixed.done['requests']:9} {one.server_memory / 1e6:10.1f}"
                f" {one.engine_memory / 1e6:6.1f} {one.objects:8}+{one.engine_objects} {one.tasks:6}"
                f" {one.threads:4}+{one.engine_threads} {one.descriptors:4}+{one.engine_descriptors}"
                f" {one.pages:6.1f} {one.store / 1e6:9.1f}",
                flush=True,
            )
        await self._mixed.close()
        print(f"{self._late} requests came late, since {_MOST_OPEN} were open")
        print(", ".join(f"{name} {count}" for name, count in sorted(self._mixed.done.items())))
        return held

    async def _ask_for(self, seconds: float) -> None:
        """Begin requests at their times."""
        end = due = time.monotonic()
        end += seconds
        while due < end:
            self._check()
            due += self._draw.expovariate(self._given.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(self._open) >= _MOST_OPEN:
                self._late += 1
                await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self._mixed.one())
            self._open.add(task)
            task.add_done_callback(self._ended)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    def _count(self) -> Holding:
        held = census.ask(self._folder / "census", trim=True)
        of_engine = census.ask(self._folder / "engine", trim=True)
        pid = self._server.process.pid
        (engine,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        gauges = _gauges(self._server.address)
        files = (self._folder / "state").glob("store.sqlite3*")
        return Holding(
            server_memory=held["resident"],
            engine_memory=of_engine["resident"],
            objects=held["objects"],
            engine_objects=of_engine["objects"],
            tasks=held["tasks"],
            threads=held["threads"],
            engine_threads=len(os.listdir(f"/proc/{engine}/task")),
            descriptors=held["descriptors"],
            engine_descriptors=len(os.listdir(f"/proc/{engine}/fd")),
            running=gauges["num_requests_running"],
            waiting=gauges["num_requests_waiting"],
            pages=gauges["kv_cache_usage_perc"],
            store=sum(file.stat().st_size for file in files),
            kinds=held["kinds"],
        )


def _gauges(address: str) -> Mapping[str, float]:
    with urlopen(f"{address}/metrics", timeout=10) as answer:
        lines = re.findall(r"^ossia:(\w+) (\S+)$", answer.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def complaints(warm: Holding, last: Holding) -> list[str]:
    """What has grown more than it may."""
    may = {
        "server_memory": warm.server_memory * 1.05 + 2e6,
        "engine_memory": warm.engine_memory * 1.05 + 2e6,
        "objects": warm.objects * 1.02 + 500,
        "engine_objects": warm.engine_objects * 1.02 + 500,
        "tasks": warm.tasks + 2,
        "threads": warm.threads + 1,
        "engine_threads": warm.engine_threads + 1,
        "descriptors": warm.descriptors + 2,
        "engine_descriptors": warm.engine_descriptors,
        "running": 0,
        "waiting": 0,
        "pages": 0,
        "store": 4 * _STORE_BYTES,
    }
    return [
        f"{name} is {getattr(last, name):,.0f}; it may be {most:,.0f}"
        for name, most in may.items()
        if getattr(last, name) > most
    ]


def main() -> int:
    """Run it and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:tiny")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=9.0, help="begun a second [9]")
    parser.add_argument("--tokens", type=int, default=16, help="of an answer at most [16]")
    parser.add_argument("--phases", type=int, default=5, help="the second is the warm one [5]")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = {
            census.VARIABLE: str(folder / "census"),
            "OSSIA_SERVE_STORE_TTL": str(_STORE_TTL),
            "OSSIA_SERVE_STORE_BYTES": str(_STORE_BYTES),
        }
        spec = WorkerSpec(model=given.model, engine=EngineConfig(kv_cache_bytes=_CACHE_BYTES))
        engine = watched_worker.command(folder / "engine", spec)
        arguments = ("--state-folder", str(folder / "state"), "--served-name", given.model)
        start = command(engine, *arguments)
        with started(start, folder / "log", environ) as server:
            held = asyncio.run(Soak(server, folder, given).run())
            server.end()
    found = complaints(held[1], held[-1])
    print("\n".join(found) or "nothing has grown")
    grown = {name: count - held[1].kinds.get(name, 0) for name, count in held[-1].kinds.items()}
    print("objects that are more:", {name: more for name, more in grown.items() if more > 50})
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())

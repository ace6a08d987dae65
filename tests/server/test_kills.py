"""`kill -9` of a whole server, in the middle of streams and of writes: what was acknowledged stays."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from pathlib import Path

import httpx2
import orjson
import pytest

from support.kill_lanes import Lanes, Ledger, check, is_whole_or_failed
from support.scripted_engine import TOKENIZER
from support.scripted_serve import command
from support.scripted_worker import Script
from support.serve_process import ServerProcess, started

_TEXTS = ("Done.", "This answer is a little longer than the other one, by " + "many " * 30)
_SAID = [
    TOKENIZER.encode_with_special(
        "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{text}<|return|>"
    )
    for text in _TEXTS
]
_SCRIPT = Script(scripts=_SAID, rate=1000)


def _kill_somewhen(server: ServerProcess, folder: Path, draw: random.Random) -> None:
    """Wait for a moment, and kill: any moment, or one at which something was just written."""
    time.sleep(draw.uniform(0.02, 0.8))
    if draw.random() < 0.5:
        written = folder / "store.sqlite3-wal"
        before = written.stat().st_mtime_ns
        end = time.monotonic() + 1
        while written.stat().st_mtime_ns == before and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.003))
    server.kill()


async def _until_killed(server: ServerProcess, folder: Path, draw: random.Random) -> Ledger:
    limits = httpx2.Limits(max_connections=100)
    async with httpx2.AsyncClient(base_url=server.address, limits=limits, timeout=20) as client:
        lanes = Lanes(client)
        killing = asyncio.to_thread(_kill_somewhen, server, folder, draw)
        await asyncio.gather(killing, lanes.run())
        return lanes.ledger


async def _check(address: str, ledger: Ledger) -> dict[str, int]:
    async with httpx2.AsyncClient(base_url=address, timeout=20) as client:
        return await check(client, ledger, set(_TEXTS))


def _check_file(folder: Path) -> None:
    """Nothing in the file is half of something."""
    with contextlib.closing(sqlite3.connect(folder / "store.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        outputs: dict[str, list[str]] = {}
        for response_id, body in db.execute("SELECT id, body FROM responses"):
            response = orjson.loads(body)
            assert is_whole_or_failed(response, set(_TEXTS)), response
            outputs[response_id] = [item["id"] for item in response["output"]]
        conversations = {name for (name,) in db.execute("SELECT id FROM conversations")}
        owned: dict[str, list[str]] = {}
        for owner, item, is_output in db.execute(
            "SELECT owner, id, is_output FROM items ORDER BY sequence"
        ):
            assert owner in outputs or owner in conversations, owner
            if is_output:
                owned.setdefault(owner, []).append(item)
        assert owned == {name: items for name, items in outputs.items() if items}
        numbers: dict[str, int] = {}
        for owner, first, last in db.execute(
            "SELECT response_id, first, last FROM events ORDER BY response_id, first"
        ):
            assert owner in outputs
            assert first == numbers.get(owner, 0)
            numbers[owner] = last + 1


def _kill_and_check(folder: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    start = command(_SCRIPT.command(), "--state-folder", str(folder / "state"))
    all_told = Ledger()
    for count in range(kills + 1):
        with started(start, folder / "log") as server:
            if count:
                asyncio.run(_check(server.address, told))  # noqa: F821 - of the round before
                _check_file(folder / "state")
            if count == kills:
                counts = asyncio.run(_check(server.address, all_told))
                server.end()
                break
            told = asyncio.run(_until_killed(server, folder / "state", draw))
            all_told.take_in(told)
    print(f"{kills} kills, seed {seed}: {counts}")
    assert counts["acknowledged"] > kills
    assert counts["failed"] > 0


def test_a_killed_server_loses_nothing_that_was_acknowledged(tmp_path):
    _kill_and_check(tmp_path, kills=4, seed=random.randrange(2**32))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills_lose_nothing(tmp_path):
    _kill_and_check(tmp_path, kills=100, seed=random.randrange(2**32))

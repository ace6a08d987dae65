"""Clients of the real engine that go away at any moment: nothing of theirs stays behind."""

from __future__ import annotations

import asyncio
import random
import re
from urllib.request import urlopen

import pytest

from support import census
from support.mixed_requests import MixedRequests
from support.scripted_serve import command
from support.serve_process import started
from support.waiting import wait_until

_SIDE_BY_SIDE = 25


def _gauges(address: str) -> dict[str, float]:
    """What the engine has in hand."""
    with urlopen(f"{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    found = {name: re.search(rf"^ossia:{name} (\S+)$", text, re.MULTILINE) for name in names}
    return {name: float(match[1]) for name, match in found.items() if match is not None}


async def _ask_all(address: str, seed: int, num_requests: int) -> MixedRequests:
    mixed = MixedRequests(address, "random:tiny", random.Random(seed), max_tokens=24, leaving=0.5)
    left = iter(range(num_requests))

    async def lane() -> None:
        for _ in left:
            await mixed.one()

    async with asyncio.TaskGroup() as group:
        for _ in range(_SIDE_BY_SIDE):
            group.create_task(lane())
    await mixed.close()
    return mixed


@pytest.mark.parametrize("num_requests", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_disconnects_at_random_leave_no_page_behind(tmp_path, num_requests):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    environ = {census.VARIABLE: str(tmp_path / "census")}
    with started(command(None, model="random:tiny"), tmp_path / "log", environ) as server:
        before = census.ask(tmp_path / "census")
        mixed = asyncio.run(_ask_all(server.address, seed, num_requests))
        assert mixed.done["left"] > num_requests / 10, mixed.done
        assert not any(name.startswith("5") for name in mixed.done), mixed.done
        nothing = {
            "num_requests_running": 0.0,
            "num_requests_waiting": 0.0,
            "kv_cache_usage_perc": 0.0,
        }
        wait_until(lambda: _gauges(server.address) == nothing, 20)
        wait_until(lambda: census.ask(tmp_path / "census")["tasks"] <= before["tasks"] + 1, 20)
        server.end()

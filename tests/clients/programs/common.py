"""What every program here shares: the questions, and how it tells what its client showed.

A case is a function that gives what a user of the client would see; its name is the API and what is
exercised. `main` runs all of them and prints a line of JSON for each. These programs run in
environments of their own and know nothing of Ossia but its address.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from importlib.metadata import version
from typing import Any

URL = os.environ["OSSIA_URL"]
BASE_URL = f"{URL}/v1"
KEY = os.environ["OSSIA_KEY"]
MODEL = "demo"

QUESTION = "How many rs are in the word 'berry'?"
FOLLOW_UP = "And in the word 'strawberry'?"
NEEDS_TOOL = "What's the weather in Paris?"
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "The city."}},
    "required": ["city"],
    "additionalProperties": False,
}
COUNT_SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}},
    "required": ["count"],
    "additionalProperties": False,
}

_calls: ContextVar[list[list[Any]]] = ContextVar("calls")
_cases: dict[str, Callable[[], Any]] = {}


def weather(city: str) -> dict[str, Any]:
    """What the tool knows; each call of it is noted."""
    _calls.get().append(["get_weather", {"city": city}])
    return {"city": city, "sky": "clear", "temperature": 19}


def call_tool(name: str, arguments: str) -> str:
    """Run the only tool there is."""
    assert name == "get_weather", name
    return json.dumps(weather(**json.loads(arguments)))


def case(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Have `main` run this function, which may be one for an event loop."""

    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        assert name not in _cases, name
        _cases[name] = function
        return function

    return add


def main(*packages: str, side_by_side: int = 1) -> None:
    """Run every case.

    Args:
        packages: Whose versions are told.
        side_by_side: Cases that run at once; they must not need an event loop.
    """
    _tell({"versions": {package: version(package) for package in packages}})
    # Clients keep connections, which belong to one loop.
    with asyncio.Runner() as runner, ThreadPoolExecutor(side_by_side) as pool:
        for line in (pool.map if side_by_side > 1 else map)(partial(_run, runner), _cases):
            _tell(line)


def _run(runner: asyncio.Runner, name: str) -> dict[str, Any]:
    calls: list[list[Any]] = []
    _calls.set(calls)
    try:
        seen = _cases[name]()
        if inspect.isawaitable(seen):
            seen = runner.run(_awaited(seen), context=copy_context())
    except Exception as error:  # whatever it is, the test judges it
        seen = _told(error)
    return {"case": name, "calls": calls, **seen}


async def _awaited(seen: Any) -> Any:
    return await seen


def _told(error: Exception) -> dict[str, Any]:
    """An error as a user sees it, with the status of the HTTP error behind it."""
    status = None
    cause: BaseException | None = error
    while cause is not None and status is None:
        status = getattr(cause, "status_code", None)
        cause = cause.__cause__ or cause.__context__
    return {
        "raised": type(error).__name__,
        "status": status,
        "message": str(error),
        "trace": traceback.format_exc()[-3000:],
    }


def _tell(line: dict[str, Any]) -> None:
    print("\n@@" + json.dumps(line, default=str), flush=True)

"""Clients that go away: until_disconnect, and unless_gone for work that is then given up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from ossia.server.api_error import ApiError

T = TypeVar("T")
_CLIENT_CLOSED = 499  # nginx's; nobody is there to read it


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work. The request's body must have been read.

    Raises:
        ApiError: the client went away; the work was cancelled.
    """
    working = asyncio.create_task(work)
    listening = asyncio.create_task(until_disconnect(request.receive))
    try:
        await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)
    raise ApiError("the client went away", status=_CLIENT_CLOSED, code="client_closed")


async def until_disconnect(receive: Receive) -> None:
    """Wait until a client whose body was read goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass

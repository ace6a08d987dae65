"""unless_gone: work for a client that waits for all of it, given up when the client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from ossia.server.api_error import ApiError

T = TypeVar("T")
_CLIENT_CLOSED = 499  # nginx's; nobody is there to read it


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work. The request's body must have been read.

    Raises:
        ApiError: the client went away; the work was cancelled.
    """
    working = asyncio.create_task(work)
    listening = asyncio.create_task(_until_disconnect(request))
    try:
        await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)
    raise ApiError("the client went away", status=_CLIENT_CLOSED, code="client_closed")


async def _until_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

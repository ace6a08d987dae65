"""memory: what a rush of requests has taken goes back to the system once it is over."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from ossia.server.allocator import give_back
from ossia.server.service import ServiceState, ServiceStatus

PERIOD = 1.0
"""Seconds between two looks at what runs."""

BUSY_PERIOD = 60.0
"""Seconds; a server that is never idle gives back so often."""


async def give_back_when_idle(
    status: Callable[[], ServiceStatus], num_answering: Callable[[], int]
) -> None:
    """Give back once the model is loaded, after each rush, and each minute of a long one; for ever.

    Args:
        status: How it stands with the model and its requests.
        num_answering: Requests of clients that are being answered.
    """
    while status().state is ServiceState.LOADING:  # noqa: ASYNC110 - happens once in a life
        await asyncio.sleep(PERIOD)
    gc.collect()
    gc.freeze()  # what is there now stays: from here on only what requests leave is looked through
    await asyncio.to_thread(give_back)
    was_idle, since = True, 0.0
    while True:
        await asyncio.sleep(PERIOD)
        since += PERIOD
        now = status()
        is_idle = now.running + now.waiting + num_answering() == 0
        if (is_idle and not was_idle) or (not is_idle and since >= BUSY_PERIOD):
            since = 0.0
            gc.collect()  # in this thread, where the loop's own objects may be finalised
            await asyncio.to_thread(give_back)
        was_idle = is_idle

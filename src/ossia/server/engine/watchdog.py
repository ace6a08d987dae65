"""until_stuck: notices an engine process that lives but gets nowhere.

A sign of life is a step that ended: the engine's loop reports each one, also those that produced
nothing. That other threads of the process still answer proves nothing, and a process without work
owes no sign. So what takes long is judged by one number, the longest step that is believed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ossia.server.engine.client import EngineClient

_LOOKS: Final = 20  # within a timeout
_MAX_PAUSE: Final = 1.0  # seconds between two looks


async def until_stuck(client: EngineClient, seconds: float) -> None:
    """Return once the engine has had something to do for a time, and has not ended a step.

    Time counts only while this runs: when the whole machine sleeps or both processes are stopped,
    nobody is to blame afterwards.

    Args:
        client: The connection to the process.
        seconds: That a step may take.
    """
    pause = min(_MAX_PAUSE, seconds / _LOOKS)
    seen, silent = client.num_steps, 0.0
    while silent <= seconds:
        await asyncio.sleep(pause)
        if client.num_steps != seen or not client.owes_step:
            seen, silent = client.num_steps, 0.0
        else:
            silent += pause

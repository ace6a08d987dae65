"""EngineServices over real processes, which must not outlive their test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path

from ossia.server.engine.service import EngineService
from ossia.server.engine.supervisor import RestartPolicy
from ossia.server.settings import ServerSettings
from ossia.types import Request, SamplingParams

QUICKLY = RestartPolicy(first_delay=0.01, max_delay=0.05, max_failures=3, quick=60.0)


def run(coroutine: Coroutine[object, object, None], seconds: float = 60) -> None:
    asyncio.run(asyncio.wait_for(coroutine, timeout=seconds))


@contextlib.asynccontextmanager
async def serving(
    command: Sequence[str],
    *,
    wait: bool = True,
    policy: RestartPolicy = QUICKLY,
    **settings: object,
) -> AsyncIterator[EngineService]:
    """A service that is ready, whose process is gone in the end."""
    service = EngineService("test-model", command, ServerSettings(**settings), policy=policy)  # type: ignore[arg-type]
    service.start()
    pids: list[int] = []
    try:
        if wait:
            await service.wait_ready()
        if service.worker_pid is not None:
            pids.append(service.worker_pid)
        yield service
    finally:
        if service.worker_pid is not None:
            pids.append(service.worker_pid)
        await service.close()
        assert not any(map(is_alive, pids))
        assert (service.admission.waiting, service.admission.running) == (0, 0)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    process = Path(f"/proc/{pid}")
    return not (process.exists() and _state(process) == "Z")


def _states(pid: int) -> list[str]:
    """Of all its threads, where the system tells."""
    return [_state(thread) for thread in Path(f"/proc/{pid}/task").glob("*")]


def _state(process: Path) -> str:
    """Of a process or thread by its folder in /proc, as proc(5) has it: a letter."""
    return (process / "stat").read_text().rpartition(")")[2].split()[0]


async def stop(pid: int) -> None:
    """Stop a process; the signal alone is only a wish, which a busy machine grants when it may."""
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: set(_states(pid)) <= {"T"})


async def until(condition, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.002)


def asked(*prompt: int, request_id: str = "r", **sampling: object) -> Request:
    """A request."""
    return Request(
        request_id=request_id,
        prompt_ids=prompt,
        sampling=SamplingParams(**sampling),  # type: ignore[arg-type]
    )


async def ids_of(service: EngineService, request: Request) -> list[int]:
    """What a request gives."""
    outputs = await service.generate(request)
    return [output.token_id async for output in outputs if output.token_id is not None]

"""drive: sends all questions when their time has come, and no more at once than is wanted."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from ossia.bench.request_timing import RequestTiming
from ossia.bench.serve.asking import Asker
from ossia.bench.serve.workload import Question
from ossia.errors import RequestError, ServerError

Teller = Callable[[str], None]


def drive(
    asker: Asker,
    questions: Sequence[Question],
    *,
    max_concurrency: int | None = None,
    warm_ups: Sequence[Question] = (),
    tell: Teller = lambda _: None,
) -> tuple[list[RequestTiming], float]:
    """Put a load on a server.

    Args:
        asker: Asks it.
        questions: By the time at which they are sent.
        max_concurrency: Open at once; a question that has to wait for its turn starts its clock when
            it is sent. None sets no limit.
        warm_ups: Asked before, one after the other, and not counted.
        tell: Told how far it is.

    Returns:
        What came of each question, in their order, and the seconds of the whole run.

    Raises:
        ServerError: a warm-up failed; says why.
        RequestError: the limit is out of range; names the field.
    """
    if max_concurrency is not None and max_concurrency < 1:
        raise RequestError(f"{max_concurrency} is too few; at least 1", field="max-concurrency")
    run = _drive(asker, questions, max_concurrency, warm_ups, tell)
    if sys.platform == "win32":  # where there is no uvloop
        return asyncio.run(run)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run)


async def _drive(
    asker: Asker,
    questions: Sequence[Question],
    max_concurrency: int | None,
    warm_ups: Sequence[Question],
    tell: Teller,
) -> tuple[list[RequestTiming], float]:
    for question in warm_ups:
        timing = await asker.ask(question)
        if timing.error is not None:
            raise ServerError(f"{asker.target.address} {timing.error}")
    places = nullcontext() if max_concurrency is None else asyncio.Semaphore(max_concurrency)
    ended = 0

    async def ask(question: Question) -> RequestTiming:
        nonlocal ended
        async with places:
            timing = await asker.ask(question)
        ended += 1
        tell(f"{ended} of {len(questions)} requests ended")
        return timing

    begun = time.perf_counter()
    tasks: list[asyncio.Task[RequestTiming]] = []
    async with asyncio.TaskGroup() as group:
        for question in questions:
            wait = begun + question.at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.append(group.create_task(ask(question)))
    return [task.result() for task in tasks], time.perf_counter() - begun

"""Engine processes that live but get nowhere, and slow ones that must not be taken for them."""

from __future__ import annotations

import asyncio

import pytest

from ossia.server.api_error import ApiError
from ossia.server.service import ServiceState
from support.engine_services import asked, ids_of, run, serving, stop, until
from support.scripted_worker import Script

SLOW = Script(rate=50, repeat=100_000)


async def _stopped_in_the_middle(service) -> ApiError:
    """Stop the process while it writes; the error that its reader gets."""
    outputs = await service.generate(asked(1))
    await anext(outputs)
    assert service.worker_pid is not None
    await stop(service.worker_pid)
    with pytest.raises(ApiError) as caught:
        async for _ in outputs:
            pass
    return caught.value


def test_a_stopped_process_is_told_to_its_readers_killed_and_started_again():
    async def main() -> None:
        async with serving(SLOW.command(), engine_timeout=1.0) as service:
            for count in (1, 2):
                stopped = service.worker_pid
                error = await _stopped_in_the_middle(service)
                assert error.status == 500
                assert error.message == (
                    "the engine process hung: no step ended in 1 s; it was killed"
                )
                assert service.status().state is ServiceState.RESTARTING
                await service.wait_ready()
                assert service.status().restarts == count
                assert service.worker_pid != stopped
            outputs = await service.generate(asked(7))
            assert (await anext(outputs)).token_id == 7
            await outputs.aclose()

    run(main())


def test_a_loop_that_hangs_while_its_process_still_answers_is_noticed():
    """Requests that keep coming are accepted by another thread; that is no sign of a step."""

    async def main() -> None:
        script = Script(stall_after=2, repeat=100)
        async with serving(script.command(), engine_timeout=1.0) as service:
            hung = service.worker_pid
            readers: list[asyncio.Task[list[int]]] = []
            while service.worker_pid == hung and len(readers) < 50:
                readers.append(asyncio.create_task(ids_of(service, asked(1))))
                await asyncio.sleep(0.1)
            for result in await asyncio.gather(*readers, return_exceptions=True):
                assert isinstance(result, ApiError)
            assert len(readers) < 50

    run(main())


def test_requests_that_leave_do_not_hide_that_it_hangs():
    async def main() -> None:
        async with serving(SLOW.command(), engine_timeout=1.0) as service:
            hung = service.worker_pid
            assert hung is not None
            outputs = await service.generate(asked(1))
            await anext(outputs)
            await stop(hung)
            await outputs.aclose()
            await until(lambda: service.worker_pid not in (None, hung), 5)

    run(main())


def test_who_stopped_before_a_request_came_is_noticed_by_that_request():
    async def main() -> None:
        async with serving(SLOW.command(), engine_timeout=1.0) as service:
            assert service.worker_pid is not None
            await stop(service.worker_pid)
            with pytest.raises(ApiError) as caught:
                await service.generate(asked(1))
            assert caught.value.status == 503
            assert "hung" in caught.value.message

    run(main())


def test_loading_resting_and_slow_steps_are_no_hanging():
    async def main() -> None:
        script = Script(load_seconds=1.2, rate=4, repeat=3)
        async with serving(script.command(), engine_timeout=1.0) as service:
            await asyncio.sleep(1.2)  # nothing to do
            assert await ids_of(service, asked(1)) == [1, 1, 1]
            assert service.status().restarts == 0

    run(main())

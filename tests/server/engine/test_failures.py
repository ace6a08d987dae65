"""Engine processes that fail, and servers that go away under them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from ossia.server.api_error import ApiError
from ossia.server.engine.service import EngineService
from ossia.server.service import ServiceState
from ossia.types import FinishReason
from support.engine_services import asked, ids_of, is_alive, run, serving, until
from support.scripted_worker import Script

SLOW = Script(rate=50, repeat=100_000)


async def read_until_error(service: EngineService, started: asyncio.Event) -> ApiError:
    outputs = await service.generate(asked(1))
    try:
        async for _ in outputs:
            started.set()
    except ApiError as error:
        return error
    raise AssertionError("it came to an end")


def test_a_killed_engine_is_told_to_every_stream_and_started_again():
    async def main() -> None:
        async with serving(SLOW.command()) as service:
            started = [asyncio.Event() for _ in range(20)]
            readers = [asyncio.create_task(read_until_error(service, one)) for one in started]
            for one in started:
                await one.wait()
            first = service.worker_pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            for error in await asyncio.gather(*readers):
                assert error.status == 500
                assert error.message == "the engine process was ended by SIGKILL"
            assert service.status().state is ServiceState.RESTARTING
            with pytest.raises(ApiError) as caught:
                await service.generate(asked(1))
            assert caught.value.status == 503
            await service.wait_ready()
            assert service.status().restarts == 1
            assert service.worker_pid != first
            outputs = await service.generate(asked(5))
            assert (await anext(outputs)).token_id == 5
            await outputs.aclose()

    run(main())


def test_an_engine_that_dies_by_itself_is_started_again(tmp_path):
    async def main() -> None:
        script = Script(crash_after=5, crash_once=str(tmp_path / "crashed"))
        async with serving(script.command()) as service:
            with pytest.raises(ApiError, match="status 7") as caught:
                await ids_of(service, asked(*range(10)))
            assert caught.value.status == 500
            await service.wait_ready()
            assert await ids_of(service, asked(*range(10))) == list(range(10))

    run(main())


def test_an_engine_that_keeps_failing_is_given_up():
    async def main() -> None:
        async with serving((sys.executable, "-c", "raise SystemExit(9)"), wait=False) as service:
            with pytest.raises(ApiError, match="status 9") as caught:
                await service.wait_ready()
            assert caught.value.status == 503
            assert service.status().state is ServiceState.FAILED
            assert service.status().restarts == 2

    run(main())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Script(load_error="num_layers is odd").command(), "num_layers is odd"),
        (("/no/such/program",), "cannot be started"),
        ((sys.executable, "-c", "print('Hello there.')"), "cannot be understood"),
    ],
)
def test_why_a_model_cannot_be_loaded_is_said(command, message):
    async def main() -> None:
        async with serving(command, wait=False) as service:
            with pytest.raises(ApiError, match=message):
                await service.wait_ready()
            assert message in service.status().message

    run(main())


def test_passes_that_keep_failing_end_the_process():
    async def main() -> None:
        async with serving(Script(fail_step_after=2).command()) as service:
            first = service.worker_pid
            for _ in range(3):
                outputs = [one async for one in await service.generate(asked(1, 2, 3))]
                assert (outputs[-1].finish_reason, outputs[-1].error) == (
                    FinishReason.ERROR,
                    "boom",
                )
            await until(lambda: service.worker_pid not in (None, first))
            await service.wait_ready()
            assert service.status().restarts == 1

    run(main())


def test_signals_for_the_server_do_not_end_the_engine():
    async def main() -> None:
        async with serving(SLOW.command()) as service:
            outputs = await service.generate(asked(1))
            await anext(outputs)
            assert service.worker_pid is not None
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(service.worker_pid, number)
            for _ in range(5):
                await anext(outputs)
            await outputs.aclose()

    run(main())


_SERVER = """
import asyncio
from ossia.server.engine.supervisor import Supervisor
from support.engine_services import asked
from support.scripted_worker import Script

async def main():
    script = {script!r}
    supervisor = Supervisor(script.command())
    supervisor.start()
    while supervisor.pid is None or not (supervisor.client or script.load_seconds):
        await asyncio.sleep(0.01)
    if supervisor.client:
        outputs = supervisor.client.stream(asked(1))
        await anext(outputs)
    print(supervisor.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("script", [SLOW, Script(load_seconds=60), Script(stall_after=1, repeat=9)])
def test_an_engine_ends_with_its_server(script):
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER.format(script=script)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with server:
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        assert is_alive(worker)
        server.kill()
    asyncio.run(until(lambda: not is_alive(worker), 5))


def test_a_service_can_be_closed_at_any_time():
    async def main() -> None:
        for seconds in (0.0, 0.01, 0.2):
            async with serving(Script(load_seconds=5).command(), wait=False):
                await asyncio.sleep(seconds)
        async with serving((sys.executable, "-c", "0"), wait=False) as service:
            await until(lambda: service.status().state is ServiceState.RESTARTING)

    run(main())

"""The asynchronous front: concurrent streams, cancellation, closing, failing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import pytest

from ossia.engine.async_engine import AsyncEngine
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.errors import EngineClosedError, RequestError
from ossia.types import FinishReason, TokenOutput
from support.engines import double_model, fake_core, greedy, naive_greedy
from support.fake_model import expected_output

_LONG = 50_000


@contextlib.asynccontextmanager
async def fake_engine(**config: object) -> AsyncIterator[tuple[AsyncEngine, EngineCore]]:
    """An engine over a fake runner that must end with all pages given back and no thread left."""
    core, _, _ = fake_core(**({"num_pages": 8000, "context": 100_000} | config))  # type: ignore[arg-type]
    engine = AsyncEngine(core)
    try:
        yield engine, core
    finally:
        await asyncio.to_thread(engine.close)
        assert "ossia-engine" not in {thread.name for thread in threading.enumerate()}
        assert not core.has_work
        core.check()


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - set by a thread that knows no events
            await asyncio.sleep(0.001)


def run(coroutine) -> None:
    asyncio.run(asyncio.wait_for(coroutine, timeout=60))


def test_many_concurrent_streams_equal_the_synchronous_ids():
    async def main() -> None:
        core = EngineCore(double_model(), EngineConfig(num_pages=60, page_size=4))
        prompts = {str(idx): (idx, 2 * idx, 3, idx) for idx in range(24)}
        async with AsyncEngine(core) as engine:

            async def collect(name: str) -> list[int]:
                stream = engine.stream(greedy(name, prompts[name], 8))
                return [output.token_id async for output in stream if output.token_id is not None]

            outputs = await asyncio.gather(*map(collect, prompts))
            for (_, prompt), token_ids in zip(prompts.items(), outputs, strict=True):
                assert token_ids == naive_greedy(double_model(), prompt, 8)
            assert engine.stats().output_tokens == 24 * 8
        core.check()
        assert not core.has_work

    run(main())


def test_generate_puts_continuations_together():
    async def main() -> None:
        async with fake_engine() as (engine, _):
            result = await engine.generate(greedy("it", (1, 2), 7, n=3))
            for index, one in enumerate(result.continuations):
                assert one.token_ids == expected_output((1, 2), index, 7, 97)
                assert one.finish_reason is FinishReason.LENGTH

    run(main())


def test_a_cancelled_consumer_aborts_its_request_and_no_other():
    async def main() -> None:
        async with fake_engine() as (engine, core):
            seen = asyncio.Event()

            async def consume() -> None:
                async for _ in engine.stream(greedy("gone", (1,), _LONG)):
                    seen.set()

            task = asyncio.create_task(consume())
            other = asyncio.create_task(engine.generate(greedy("other", (2,), 40)))
            await seen.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            result = await other
            assert result.continuations[0].token_ids == expected_output((2,), 0, 40, 97)
            await until(lambda: core.live_requests == ())
            # Its id is free again.
            await engine.generate(greedy("gone", (1,), 2))

    run(main())


def test_an_abandoned_stream_is_aborted():
    async def main() -> None:
        async with fake_engine() as (engine, core):
            async for _ in engine.stream(greedy("it", (1,), _LONG)):
                break
            await until(lambda: core.live_requests == ())

    run(main())


def test_a_stream_closed_before_its_first_output_leaves_nothing():
    async def main() -> None:
        async with fake_engine() as (engine, core):
            stream = engine.stream(greedy("it", (1,), _LONG))
            await stream.aclose()
            assert core.live_requests == ()
            await engine.generate(greedy("it", (1,), 2))

    run(main())


def test_requests_are_refused_at_once():
    async def main() -> None:
        async with fake_engine() as (engine, _):
            with pytest.raises(RequestError, match="prompt_ids"):
                engine.stream(greedy("it", (), 4))
            stream = engine.stream(greedy("it", (1,), _LONG))
            await anext(stream)
            with pytest.raises(RequestError, match="'it' is in use"):
                engine.stream(greedy("it", (1,), 4))
            await stream.aclose()

    run(main())


def test_close_ends_every_stream_with_an_error():
    async def main() -> None:
        async with fake_engine(max_sequences=2, max_batch_tokens=8) as (engine, _):
            streams = [engine.stream(greedy(str(idx), (idx,), _LONG)) for idx in range(5)]
            tasks = [asyncio.create_task(exhaust(stream)) for stream in streams]
            await until(lambda: engine.stats().steps > 3)
            await asyncio.to_thread(engine.close)
            engine.close()
            for task in tasks:
                with pytest.raises(EngineClosedError, match="the engine is closed"):
                    await task
            with pytest.raises(EngineClosedError):
                engine.stream(greedy("late", (1,), 4))

    run(main())


async def exhaust(stream) -> list[TokenOutput]:
    return [output async for output in stream]


def test_outputs_that_came_before_close_can_still_be_read():
    async def main() -> None:
        async with fake_engine() as (engine, core):
            stream = engine.stream(greedy("it", (1,), 3))
            first = await anext(stream)
            await until(lambda: not core.has_work)
            await asyncio.to_thread(engine.close)
            rest = await exhaust(stream)
            assert [output.token_id for output in (first, *rest)] == expected_output((1,), 0, 3, 97)

    run(main())


def test_a_stream_opened_but_not_read_before_close_ends_with_an_error():
    async def main() -> None:
        async with fake_engine() as (engine, _):
            stream = engine.stream(greedy("it", (1,), 3))
            await asyncio.to_thread(engine.close)
            with pytest.raises(EngineClosedError):
                await anext(stream)

    run(main())


def test_a_failing_forward_pass_ends_everyone_and_the_engine_goes_on():
    async def main() -> None:
        core, runner, _ = fake_core(num_pages=8000, context=100_000)
        async with AsyncEngine(core) as engine:
            tasks = [
                asyncio.create_task(exhaust(engine.stream(greedy(str(idx), (idx,), _LONG))))
                for idx in range(4)
            ]
            await until(lambda: engine.stats().num_running == 4)
            runner.fail_next = True
            for task in tasks:
                last = (await task)[-1]
                assert last.finish_reason is FinishReason.ERROR
                assert last.error == "RuntimeError: injected"
            result = await engine.generate(greedy("again", (1,), 3))
            assert result.continuations[0].token_ids == expected_output((1,), 0, 3, 97)
        core.check()

    run(main())


def test_a_failing_loop_leaves_nobody_waiting(monkeypatch):
    async def main() -> None:
        async with fake_engine() as (engine, core):
            tasks = [
                asyncio.create_task(exhaust(engine.stream(greedy(str(idx), (idx,), _LONG))))
                for idx in range(3)
            ]
            await until(lambda: engine.stats().num_running == 3)

            def broken() -> None:
                raise LookupError("a bug")

            monkeypatch.setattr(core._scheduler, "schedule", broken)
            for task in tasks:
                with pytest.raises(EngineClosedError, match="LookupError: a bug"):
                    await task
            with pytest.raises(EngineClosedError):
                engine.stream(greedy("late", (1,), 4))

    run(main())


def test_streams_of_an_event_loop_that_is_gone_are_aborted():
    core, _, _ = fake_core(num_pages=8000, context=100_000)
    engine = AsyncEngine(core)
    loop = asyncio.new_event_loop()
    stream = engine.stream(greedy("it", (1,), _LONG))
    loop.run_until_complete(anext(stream))
    loop.close()

    async def main() -> None:
        await until(lambda: core.live_requests == ())
        await engine.generate(greedy("next", (1,), 3))

    run(main())
    engine.close()
    core.check()
    with contextlib.suppress(StopIteration):
        stream.aclose().send(None)


def test_tasks_of_several_event_loops_share_one_engine():
    core, _, _ = fake_core(num_pages=8000, context=100_000)
    engine = AsyncEngine(core)
    found: dict[int, list[int]] = {}

    def work(number: int) -> None:
        result = asyncio.run(engine.generate(greedy(str(number), (number,), 30)))
        found[number] = result.continuations[0].token_ids

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    engine.close()
    assert found == {number: expected_output((number,), 0, 30, 97) for number in range(6)}

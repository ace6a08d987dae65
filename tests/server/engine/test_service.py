"""The service over real processes that play scripts: streams, refusals, limits, the end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time

import pytest

from ossia.api.events import Done, Ending, ReasoningDelta, TextDelta
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.tools import Tool
from ossia.harmony import ToolDescription
from ossia.server.api_error import ApiError
from ossia.server.engine.service import EngineService
from ossia.server.service import ServiceState
from ossia.types import FinishReason, Request, SamplingParams
from support.engine_services import asked, ids_of, run, serving, until
from support.scripted_engine import TOKENIZER
from support.scripted_worker import REFUSED_ID, VOCAB_SIZE, Script

ANSWER = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello.<|return|>"
SCRIPT = TOKENIZER.encode_with_special(ANSWER)
SLOW = Script(rate=50, repeat=100_000)


def question(text: str = "Hi", **more: object) -> Question:
    return Question([*opening_messages(), user_message(text)], **more)  # type: ignore[arg-type]


async def waits(awaitable) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await awaitable
    return caught.value


def test_an_answer_comes_through_the_process():
    async def main() -> None:
        async with serving(Script(scripts=[SCRIPT]).command()) as service:
            events = [event async for event in await service.answer(question())]
            assert [one.text for one in events if isinstance(one, ReasoningDelta)] == ["Hm", "."]
            assert "".join(one.text for one in events if isinstance(one, TextDelta)) == "Hello."
            assert isinstance(events[-1], Done)
            assert events[-1].usage.output_tokens == len(SCRIPT)
            status = service.status()
            assert status.state is ServiceState.READY
            assert status.engine is not None
            assert status.engine.output_tokens == len(SCRIPT)
            assert (service.max_context, service.vocab_size) == (131_072, VOCAB_SIZE)
            assert service.tokenizer.encode("Hi") == TOKENIZER.encode("Hi")

    run(main())


def test_tools_run_between_two_requests_of_one_answer():
    call = TOKENIZER.encode_with_special(
        '<|channel|>commentary to=functions.now<|constrain|>json<|message|>{"a": 1, "b": 2}<|call|>'
    )

    def now(a: int, b: int) -> int:
        return a + b

    async def main() -> None:
        async with serving(Script(scripts=[call, SCRIPT]).command()) as service:
            tool = Tool(ToolDescription.new("now", "Adds.", {"type": "object"}), now)
            messages = [*opening_messages(tools=[tool]), user_message("Add.")]
            events = [e async for e in await service.answer(Question(messages, tools=[tool]))]
            assert events[-1].finish_reason is Ending.STOP
            assert events[-1].usage.output_tokens == len(call) + len(SCRIPT)

    run(main())


def test_a_thousand_streams_at_once_lose_nothing():
    async def main() -> None:
        async with serving(Script(repeat=5, max_running=1000).command()) as service:

            async def one(idx: int) -> None:
                prompt = tuple(1000 * idx % 199_000 + step for step in range(20))
                assert await ids_of(service, asked(*prompt)) == list(prompt) * 5

            await asyncio.gather(*map(one, range(1000)))
            stats = service.status().engine
            assert stats is not None
            assert (stats.output_tokens, stats.finished) == (100_000, 1000)

    run(main(), 120)


@pytest.mark.parametrize(
    ("request_", "code", "param"),
    [
        (asked(), None, "prompt_ids"),
        (asked(VOCAB_SIZE), None, "prompt_ids"),
        (asked(-1), None, "prompt_ids"),
        (asked(*[1] * 131_072), "context_length_exceeded", "prompt_ids"),
        (asked(REFUSED_ID), "capacity_exceeded", "max_tokens"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_streamed(request_, code, param):
    async def main() -> None:
        async with serving(Script().command()) as service:
            error = await waits(service.generate(request_))
            assert (error.status, error.code, error.param) == (400, code, param)
            assert await ids_of(service, asked(1, 2)) == [1, 2]
            assert service.status().restarts == 0

    run(main())


def test_bad_questions_are_refused_before_anything_is_streamed():
    async def main() -> None:
        async with serving(Script(scripts=[SCRIPT]).command()) as service:
            for sampling in (SamplingParams(n=2), SamplingParams(seed=1, n=3)):
                error = await waits(service.answer(question(sampling=sampling)))
                assert (error.status, error.param) == (400, "n")
            error = await waits(service.answer(question("word " * 140_000)))
            assert error.code == "context_length_exceeded"

    run(main())


def test_what_is_given_up_is_aborted_in_the_engine():
    async def read_one(service: EngineService) -> None:
        outputs = await service.generate(asked(1))
        await anext(outputs)
        await outputs.aclose()

    async def be_cancelled(service: EngineService) -> None:
        async def read() -> None:
            async for _ in await service.generate(asked(1)):
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def never_start(service: EngineService) -> None:
        await service.generate(asked(1))
        await service.answer(question())

    async def drop(service: EngineService) -> None:
        outputs = await service.generate(asked(1))
        await anext(outputs)
        del outputs
        gc.collect()

    async def main() -> None:
        async with serving(SLOW.command()) as service:
            for give_up in (read_one, be_cancelled, never_start, drop):
                await give_up(service)
                await until(lambda: not service.admission.waiting + service.admission.running, 1)
            # The one that was never started asks twice.
            await until(lambda: service.status().engine.finished == 5, 5)
            assert service.status().engine.pages_held == 0

    run(main())


def test_too_much_is_refused_with_a_time_to_come_again():
    async def main() -> None:
        script = Script(rate=20, repeat=10_000, max_running=2)
        async with serving(script.command(), max_queue=1, max_queued_tokens=100) as service:
            first = [await service.generate(asked(1)) for _ in range(2)]
            for stream in first:
                await anext(stream)
            waiting = await service.generate(asked(*[1] * 99))
            error = await waits(service.generate(asked(1)))
            assert (error.status, error.code) == (429, "rate_limit_exceeded")
            assert error.retry_after is not None
            assert 1 <= error.retry_after <= 60
            status = service.status()
            assert (status.waiting, status.running) == (1, 2)
            await waiting.aclose()
            await until(lambda: service.status().waiting == 0, 1)
            await (await service.generate(asked(1))).aclose()
            for stream in first:
                await stream.aclose()

    run(main())


def test_time_that_is_up_ends_a_request():
    async def main() -> None:
        script = Script(scripts=[[1]], rate=50, repeat=100_000)
        async with serving(script.command(), request_timeout=0.3) as service:
            outputs = [output async for output in await service.generate(asked(1))]
            assert outputs[-1].finish_reason is FinishReason.DEADLINE
            sooner = Request(request_id="r", prompt_ids=(1,), deadline=time.monotonic() - 1)
            outputs = [output async for output in await service.generate(sooner)]
            assert [output.finish_reason for output in outputs] == [FinishReason.DEADLINE]
            events = [event async for event in await service.answer(question())]
            assert events[-1].finish_reason is Ending.DEADLINE

    run(main())


def test_an_engine_that_stalls_is_not_waited_for_beyond_the_time(monkeypatch):
    monkeypatch.setattr("ossia.server.engine.client.GRACE", 0.1)

    async def main() -> None:
        async with serving(Script(stall_after=3).command(), request_timeout=0.3) as service:
            outputs = await service.generate(asked(*range(10)))
            with pytest.raises(ApiError, match="does not answer") as caught:
                async for _ in outputs:
                    pass
            assert caught.value.status == 500

    run(main())


def test_log_probabilities_come_through():
    async def main() -> None:
        async with serving(Script().command()) as service:
            outputs = [one async for one in await service.generate(asked(7, 8, logprobs=2))]
            assert [one.logprob.token_id for one in outputs] == [7, 8]
            assert outputs[0].logprob.top == ((7, -0.5), (8, -1.5))

    run(main())


def test_draining_lets_what_runs_end_and_takes_nothing_new():
    async def main() -> None:
        async with serving(Script(rate=20).command()) as service:
            running = asyncio.create_task(ids_of(service, asked(*range(8))))
            await until(lambda: service.status().running == 1)
            draining = asyncio.create_task(service.drain(10))
            await asyncio.sleep(0)
            assert service.status().state is ServiceState.DRAINING
            assert (await waits(service.generate(asked(1)))).status == 503
            assert await draining
            assert running.done()
            assert await running == list(range(8))
        async with serving(SLOW.command()) as service:
            stream = await service.generate(asked(1))
            assert not await service.drain(0.1)
            await service.close()
            with pytest.raises(ApiError) as caught:
                async for _ in stream:
                    pass
            assert caught.value.status == 500

    run(main())


def test_while_the_model_loads_everything_is_refused():
    async def main() -> None:
        async with serving(Script(load_seconds=2).command(), wait=False) as service:
            assert service.status().state is ServiceState.LOADING
            with pytest.raises(ApiError):
                _ = service.max_context
            await until(lambda: service.status().progress)
            assert service.status().progress == {"loading scripted": (1, 2)}
            error = await waits(service.generate(asked(1)))
            assert (error.status, error.code) == (503, "unavailable")
            await service.wait_ready()
            assert await ids_of(service, asked(1)) == [1]
            assert service.status().progress == {}

    run(main())


def test_nothing_in_this_process_loads_torch():
    code = """
import asyncio, sys
from support.engine_services import asked, ids_of, serving
from support.scripted_worker import Script
import ossia.server.engine.service, ossia.server.app

async def main():
    async with serving(Script().command()) as service:
        assert await ids_of(service, asked(1, 2)) == [1, 2]
        service.tokenizer.encode("Hi")

asyncio.run(main())
print(*{'torch', 'transformers', 'numpy'} & set(sys.modules))
"""
    path = os.pathsep.join([*sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr

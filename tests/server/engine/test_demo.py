"""The real engine process with the demo model: what comes out is what it gives in one process."""

from __future__ import annotations

import asyncio
import sys

import pytest

from ossia.api.conversation import respond
from ossia.api.events import Done, TokenDrawn
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.runtime import Runtime
from ossia.engine.config import EngineConfig
from ossia.server.api_error import ApiError
from ossia.server.engine.spec import WorkerSpec
from ossia.types import Request, SamplingParams
from support.engine_services import run, serving, until

WORDS = ("Hello!", "What is 17 + 25?", "Spell the word 'cat'.")
SPEC = WorkerSpec(model="demo", engine=EngineConfig(max_sequences=8, num_pages=2000))


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime.load("demo", device="cpu", config=SPEC.engine)


def asked(text: str) -> Question:
    sampling = SamplingParams(temperature=0.0, max_tokens=12, logprobs=1)
    return Question([*opening_messages(), user_message(text)], sampling=sampling)


def test_the_demo_says_the_same_through_the_process(runtime):
    expected = [list(respond(runtime.engine, runtime.tokenizer, asked(text))) for text in WORDS]

    async def main() -> None:
        async with serving(SPEC.command()) as service:

            async def collect(text: str) -> list:
                return [event async for event in await service.answer(asked(text))]

            answers = await asyncio.gather(*map(collect, WORDS))
            for one, other in zip(answers, expected, strict=True):
                drawn = [event for event in one if isinstance(event, TokenDrawn)]
                wanted = [event for event in other if isinstance(event, TokenDrawn)]
                assert [event.token_id for event in drawn] == [event.token_id for event in wanted]
                for event, want in zip(drawn, wanted, strict=True):
                    # Batches add up in another order than single sequences.
                    assert event.logprob.logprob == pytest.approx(want.logprob.logprob, abs=1e-3)
                assert isinstance(one[-1], Done)
                assert one[-1].finish_reason is other[-1].finish_reason
            assert service.max_context > 0
            assert service.vocab_size == runtime.network.config.vocab_size

            prompt = tuple(runtime.tokenizer.encode("Once upon a time"))
            sampling = SamplingParams(temperature=0.0, max_tokens=3, prompt_logprobs=2, n=2)
            request = Request(request_id="r", prompt_ids=prompt, sampling=sampling)
            outputs = [output async for output in await service.generate(request)]
            alone = list(runtime.engine.stream(request))
            for index in range(2):
                mine = [one for one in outputs if one.index == index]
                assert [one.token_id for one in mine] == [
                    one.token_id for one in alone if one.index == index
                ]
                assert len(mine[0].prompt_logprobs) == len(prompt)
                assert mine[0].prompt_logprobs[0] is None

            # Given up in mid-stream, a request's pages are free again, and the engine goes on.
            endless = SamplingParams(max_tokens=5000, min_tokens=5000)
            outputs = await service.generate(
                Request(request_id="r", prompt_ids=prompt, sampling=endless)
            )
            await anext(outputs)
            assert service.status().engine.pages_held > 0
            await outputs.aclose()
            steps = service.status().engine.steps
            await until(lambda: service.status().engine.pages_held == 0)
            assert service.status().engine.steps <= steps + 5  # some were under way

            with pytest.raises(ApiError) as caught:
                await service.generate(Request(request_id="r", prompt_ids=(service.vocab_size,)))
            assert (caught.value.status, caught.value.param) == (400, "prompt_ids")

    run(main(), 120)


def test_a_model_that_is_not_there_is_said_to_be_missing():
    async def main() -> None:
        command = WorkerSpec(model="./nowhere").command()
        async with serving(command, wait=False) as service:
            with pytest.raises(ApiError, match="nowhere: no such folder"):
                await service.wait_ready()
            assert service.status().restarts == 0

    run(main())


def test_a_spec_survives_the_command_line():
    spec = WorkerSpec(
        model="a/b",
        revision="main",
        dtype="float32",
        device="cpu",
        engine=EngineConfig(num_pages=7),
    )
    *start, argument = spec.command()
    assert start == [sys.executable, "-m", "ossia.server.engine.worker"]
    assert WorkerSpec.from_json(argument) == spec

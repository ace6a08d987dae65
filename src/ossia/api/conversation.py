"""Where text meets tokens: messages in, events out, with the engine and tools in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing

from ossia.api.answer import Answer
from ossia.api.engines import AsyncTokenEngine, TokenEngine
from ossia.api.events import Event
from ossia.api.question import Question
from ossia.api.tools import run_tool, run_tool_async
from ossia.tokenizer import Tokenizer
from ossia.types import TokenOutput


def respond(
    engine: TokenEngine, tokenizer: Tokenizer, question: Question
) -> Generator[Event, None, None]:
    """Answer a conversation, running tools that have a function until the model is done.

    Args:
        engine: Runs the model.
        tokenizer: Of the model.
        question: What is to be answered.

    Yields:
        What happens, as it happens; `Done` comes last. Closing the iterator ends the request.

    Raises:
        RequestError: the engine refuses the request.
        HarmonyError: a message cannot be written in the format.
        EngineClosedError: the engine failed.
        GrammarCostError: what the answer must look like is too costly.
    """
    answer = Answer(tokenizer, question)
    while (request := answer.next_request()) is not None:
        answer.prepare_masks()
        with closing(engine.stream(request)) as outputs:
            for output in outputs:
                yield from answer.push(output)
                if answer.turn_over:
                    break
        yield from end_turn(answer)
    yield answer.done()


def end_turn(answer: Answer) -> Iterator[Event]:
    """What follows once the engine is done with a request: its last events, and a tool's result."""
    yield from answer.end_turn()
    if (waiting := answer.call_to_run()) is not None:
        call, tool = waiting
        result = run_tool(tool, call)
        answer.add_result(call, result)
        yield result


async def respond_async(
    engine: AsyncTokenEngine, tokenizer: Tokenizer, question: Question
) -> AsyncGenerator[Event, None]:
    """`respond` without blocking the event loop.

    Tools' functions may be coroutine functions; others run on a thread.
    """
    answer = Answer(tokenizer, question)
    request = answer.next_request()
    assert request is not None, "an answer has at least one turn"
    if question.grammars:
        await asyncio.to_thread(answer.prepare_masks)
    async with aclosing(go_on(engine, answer, engine.stream(request))) as events:
        async for event in events:
            yield event


async def go_on(
    engine: AsyncTokenEngine, answer: Answer, outputs: AsyncGenerator[TokenOutput, None]
) -> AsyncGenerator[Event, None]:
    """The events of an answer whose first request runs already.

    Args:
        engine: Runs the requests that follow it.
        answer: Gave that request.
        outputs: Of that request; closed in the end.
    """
    while True:
        async with aclosing(outputs):
            async for output in outputs:
                for event in answer.push(output):
                    yield event
                if answer.turn_over:
                    break
        for event in answer.end_turn():
            yield event
        if (waiting := answer.call_to_run()) is not None:
            call, tool = waiting
            result = await run_tool_async(tool, call)
            answer.add_result(call, result)
            yield result
        if (request := answer.next_request()) is None:
            break
        outputs = engine.stream(request)
    yield answer.done()

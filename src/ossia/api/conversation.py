"""Where text meets tokens: messages in, events out, with the engine and tools in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import aclosing, closing

from ossia.api.answer import Answer
from ossia.api.events import Event
from ossia.api.tools import Tool, run_tool, run_tool_async
from ossia.engine.async_engine import AsyncEngine
from ossia.engine.sync_engine import SyncEngine
from ossia.harmony import Message
from ossia.tokenizer import Tokenizer
from ossia.types import SamplingParams


def respond(
    engine: SyncEngine,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    sampling: SamplingParams | None = None,
    stop: Sequence[str] = (),
    tools: Sequence[Tool] = (),
    tool_choice: str = "auto",
    reasoning: bool = True,
    final_only: bool = False,
) -> Generator[Event, None, None]:
    """Answer a conversation, running tools that have a function until the model is done.

    Args:
        engine: Runs the model.
        tokenizer: Of the model.
        messages: From the system message to what is to be answered; `opening_messages` makes the
            first ones. They must offer the tools.
        sampling: How to draw; `max_tokens` and `min_tokens` are for the whole answer.
        stop: Strings that end the text for the user; they are cut off.
        tools: What the functions named in the messages do.
        tool_choice: "auto", "none", "required", or the recipient that must be called first, such
            as `functions.f`.
        reasoning: Whether the model may think before it answers.
        final_only: Only the answer may come: no reasoning, no words before it, no calls.

    Yields:
        What happens, as it happens; `Done` comes last. Closing the iterator ends the request.

    Raises:
        RequestError: the engine refuses the request.
        HarmonyError: a message cannot be written in the format.
        EngineClosedError: the engine failed.
    """
    answer = Answer(
        tokenizer,
        messages,
        sampling or SamplingParams(),
        stop,
        tools,
        tool_choice=tool_choice,
        reasoning=reasoning,
        final_only=final_only,
    )
    while (request := answer.next_request()) is not None:
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
    engine: AsyncEngine,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    sampling: SamplingParams | None = None,
    stop: Sequence[str] = (),
    tools: Sequence[Tool] = (),
    tool_choice: str = "auto",
    reasoning: bool = True,
    final_only: bool = False,
) -> AsyncGenerator[Event, None]:
    """`respond` without blocking the event loop.

    Tools' functions may be coroutine functions; others run on a thread.
    """
    answer = Answer(
        tokenizer,
        messages,
        sampling or SamplingParams(),
        stop,
        tools,
        tool_choice=tool_choice,
        reasoning=reasoning,
        final_only=final_only,
    )
    while (request := answer.next_request()) is not None:
        async with aclosing(engine.stream(request)) as outputs:
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
    yield answer.done()

"""Conversations over a scripted engine: events, tools, stop strings, cuts and accounts."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.api.conversation import respond, respond_async
from ossia.api.events import (
    Done,
    Ending,
    Event,
    MessageDone,
    ReasoningDelta,
    TextDelta,
    TokenDrawn,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.tools import Tool
from ossia.errors import EngineClosedError, RequestError
from ossia.harmony import ReasoningEffort, RepairKind, ToolDescription
from ossia.tokenizer import special
from ossia.types import FinishReason, SamplingParams
from support.scripted_engine import TOKENIZER, ScriptedAsyncEngine, ScriptedEngine

PLAIN = SamplingParams()
DAY = date(2026, 1, 2)
THOUGHT = "<|channel|>analysis<|message|>Let me see.<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>It is 3.<|return|>"
CALL = (
    "<|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json"
    '<|message|>{"a": 1, "b": 2}<|call|>'
)


def _add(a: float, b: float) -> float:
    return a + b


def _tool(function=_add, name="add") -> Tool:
    return Tool(ToolDescription.new(name, "Adds.", {"type": "object"}), function)


def _ask(engine, *, tools=(), sampling=PLAIN, stop=(), text="Hi") -> list[Event]:
    messages = [*opening_messages(today=DAY, tools=tools), user_message(text)]
    return list(
        respond(engine, TOKENIZER, Question(messages, sampling=sampling, stop=stop, tools=tools))
    )


def _texts(events: list[Event], kind: type) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def _of(events: list[Event], kind: type) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_reasoning_and_answer_come_as_they_are_written():
    engine = ScriptedEngine(THOUGHT + FINAL)
    events = _ask(engine)
    assert _texts(events, ReasoningDelta) == "Let me see."
    assert _texts(events, TextDelta) == "It is 3."
    done = events[-1]
    assert done.finish_reason is Ending.STOP
    assert [message.channel for message in done.messages] == ["analysis", "final"]
    assert [event.message for event in _of(events, MessageDone)] == list(done.messages)
    kinds = [type(event) for event in events if not isinstance(event, TokenDrawn)]
    assert kinds.index(TextDelta) > kinds.index(MessageDone) > kinds.index(ReasoningDelta)
    drawn = [event.token_id for event in _of(events, TokenDrawn)]
    assert drawn == TOKENIZER.encode_with_special(THOUGHT + FINAL)


def test_what_was_mended_is_counted_over_all_turns():
    first = "analysis<|message|>Hm.<|end|>" + CALL
    second = "<|channel|>final<|message|>It is 3.<|end|>commentary<|return|>"
    tools = [_tool()]
    messages = [*opening_messages(today=DAY, tools=tools), user_message("Hi")]
    done = list(respond(ScriptedEngine(first, second), TOKENIZER, Question(messages, tools=tools)))[
        -1
    ]
    assert done.repairs == {RepairKind.MISSING_CHANNEL: 1, RepairKind.STRAY_TOKENS: 1}
    assert [len(message.repairs) for message in done.messages] == [1, 0, 0, 0]
    assert _ask(ScriptedEngine(THOUGHT + FINAL))[-1].repairs == {}


def test_the_prompt_is_harmony():
    engine = ScriptedEngine(FINAL)
    messages = opening_messages(
        effort=ReasoningEffort.HIGH, instructions="Be brief.", tools=[_tool()], today=DAY
    )
    list(respond(engine, TOKENIZER, Question([*messages, user_message("<|end|>?")])))
    prompt = TOKENIZER.decode(engine.requests[0].prompt_ids)
    assert "Reasoning: high" in prompt
    assert "Current date: 2026-01-02" in prompt
    assert "# Instructions\n\nBe brief." in prompt
    assert "type add = " in prompt
    assert prompt.endswith("<|start|>user<|message|><|end|>?<|end|><|start|>assistant")
    # What the user typed stays text.
    assert engine.requests[0].prompt_ids.count(200_007) == 3


def test_without_instructions_there_is_no_developer_message():
    assert [message.author.role for message in opening_messages()] == ["system"]


def test_usage_counts_every_token():
    done = _ask(ScriptedEngine(THOUGHT + FINAL))[-1]
    assert done.usage.output_tokens == len(TOKENIZER.encode_with_special(THOUGHT + FINAL))
    assert done.usage.reasoning_tokens == len(TOKENIZER.encode("Let me see."))
    assert done.usage.cached_tokens == 3
    assert done.usage.input_tokens > 40


def test_tools_run_until_the_model_is_done():
    engine = ScriptedEngine(THOUGHT + CALL, FINAL.removeprefix("<|start|>assistant"))
    events = _ask(engine, tools=[_tool()])
    (call,) = _of(events, ToolCall)
    assert (call.name, call.recipient) == ("add", "functions.add")
    assert json.loads(call.arguments) == {"a": 1, "b": 2}
    deltas = _of(events, ToolCallDelta)
    assert "".join(delta.arguments for delta in deltas) == call.arguments
    assert {delta.name for delta in deltas} == {"add"}
    assert _of(events, ToolResult) == [ToolResult(call.call_id, "add", "3")]
    second = TOKENIZER.decode(engine.requests[1].prompt_ids)
    assert second.endswith(
        "<|start|>functions.add to=assistant<|channel|>commentary<|message|>3<|end|><|start|>assistant"
    )
    assert "Let me see." in second, "the reasoning stays while the tool chain runs"
    done = events[-1]
    assert done.finish_reason is Ending.STOP
    assert [message.author.role for message in done.messages] == [
        "assistant",
        "assistant",
        "tool",
        "assistant",
    ]
    assert done.usage.input_tokens == sum(len(request.prompt_ids) for request in engine.requests)
    assert done.usage.cached_tokens == 6


@pytest.mark.parametrize(
    ("function", "arguments", "output"),
    [
        (lambda a, b: 1 / 0, '{"a": 1, "b": 2}', "Error: ZeroDivisionError: division by zero"),
        (_add, '{"a": 1}', "Error: TypeError: _add() missing"),
        (_add, "{nonsense", "Error: JSONDecodeError:"),
        (_add, "[1, 2]", "Error: TypeError: the arguments must be a JSON object"),
        (lambda: {"ü": None}, "", '{"ü": null}'),
        (lambda: "plain", "{}", "plain"),
        (lambda: DAY, "{}", '"2026-01-02"'),
    ],
)
def test_what_a_tool_gives_or_does_wrong_goes_back_to_the_model(function, arguments, output):
    call = CALL.replace('{"a": 1, "b": 2}', arguments)
    engine = ScriptedEngine(call.removeprefix("<|start|>assistant"), FINAL)
    (result,) = _of(_ask(engine, tools=[_tool(function)]), ToolResult)
    assert result.output.startswith(output)
    assert result.failed == output.startswith("Error")
    assert result.output in TOKENIZER.decode(engine.requests[1].prompt_ids)


def test_a_tool_that_does_not_exist_is_an_error_for_the_model():
    engine = ScriptedEngine(CALL.replace(".add", ".sub"), FINAL)
    (result,) = _of(_ask(engine, tools=[_tool()]), ToolResult)
    assert result.output == "Error: LookupError: there is no tool named sub"


def test_coroutine_functions_need_the_asynchronous_front():
    async def slow() -> str:
        return "slow"

    call = CALL.replace('{"a": 1, "b": 2}', "{}")
    (result,) = _of(_ask(ScriptedEngine(call, FINAL), tools=[_tool(slow)]), ToolResult)
    assert result.output.endswith("add must be awaited; use the asynchronous front")


@pytest.mark.parametrize("tools", [(), (_tool(None),), (_tool(None), _tool(_add, "other"))])
def test_calls_for_the_caller_end_the_answer(tools):
    engine = ScriptedEngine(THOUGHT + CALL)
    events = _ask(engine, tools=tools)
    assert len(_of(events, ToolCall)) == 1
    assert events[-1].finish_reason is Ending.TOOL_CALLS
    assert len(engine.requests) == 1


@pytest.mark.parametrize("end", ["<|end|>", "<|return|>"])
def test_a_call_with_the_wrong_end_token_is_a_call(end):
    engine = ScriptedEngine(CALL.replace("<|call|>", end) + FINAL)
    events = _ask(engine)
    assert events[-1].finish_reason is Ending.TOOL_CALLS
    assert _texts(events, TextDelta) == ""


def test_a_call_that_was_cut_off_is_no_call():
    tokens = TOKENIZER.encode_with_special(CALL)[:-3]
    events = _ask(ScriptedEngine(tokens), tools=[_tool()])
    assert _of(events, ToolCall) == []
    assert events[-1].finish_reason is Ending.LENGTH


def test_endless_tool_calls_end():
    engine = ScriptedEngine(*[CALL] * 70)
    done = _ask(engine, tools=[_tool()])[-1]
    assert len(engine.requests) == 64
    assert done.finish_reason is Ending.TOOL_CALLS


def test_max_tokens_is_for_the_whole_answer():
    cost = len(TOKENIZER.encode_with_special(CALL))
    engine = ScriptedEngine(CALL, FINAL)
    done = _ask(engine, tools=[_tool()], sampling=SamplingParams(max_tokens=cost + 2))[-1]
    assert engine.requests[1].sampling.max_tokens == 2
    assert done.finish_reason is Ending.LENGTH
    assert done.usage.output_tokens == cost + 2
    engine = ScriptedEngine(CALL)
    done = _ask(engine, tools=[_tool()], sampling=SamplingParams(max_tokens=cost))[-1]
    assert done.finish_reason is Ending.LENGTH
    assert done.messages[-1].author.role == "tool"


def test_min_tokens_is_for_the_whole_answer():
    cost = len(TOKENIZER.encode_with_special(CALL))
    engine = ScriptedEngine(CALL, FINAL)
    sampling = SamplingParams(max_tokens=cost + 20, min_tokens=cost + 3)
    assert _ask(engine, tools=[_tool()], sampling=sampling)[-1].finish_reason is Ending.STOP
    assert [request.sampling.min_tokens for request in engine.requests] == [cost + 3, 3]
    engine = ScriptedEngine(CALL, FINAL)
    sampling = SamplingParams(max_tokens=cost + 20, min_tokens=cost - 2)
    _ask(engine, tools=[_tool()], sampling=sampling)
    assert engine.requests[1].sampling.min_tokens == 0


def test_a_stop_string_that_the_last_allowed_token_completes_is_a_stop():
    script = FINAL.replace("It is 3.<|return|>", "one, two")
    num_tokens = len(TOKENIZER.encode_with_special(script))
    engine = ScriptedEngine(script, ends=FinishReason.LENGTH)
    events = _ask(engine, stop=["two"], sampling=SamplingParams(max_tokens=num_tokens))
    assert _texts(events, TextDelta) == "one, "
    assert events[-1].finish_reason is Ending.STOP


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 30), tools=st.booleans())
def test_a_cut_anywhere_never_raises_and_loses_no_text(cut, tools):
    whole = TOKENIZER.encode_with_special(THOUGHT + FINAL)
    events = _ask(ScriptedEngine(whole[:cut]), tools=[_tool()] if tools else ())
    assert events[-1].finish_reason in (Ending.LENGTH, Ending.STOP)
    assert "It is 3.".startswith(_texts(events, TextDelta))
    assert "Let me see.".startswith(_texts(events, ReasoningDelta))
    for message in events[-1].messages:
        assert message.channel in ("analysis", "final")


control = st.sampled_from(sorted({*special.STOP_TOKENS, *range(200_003, 200_009)} - {200_004}))
header_words = st.sampled_from([" to=functions.f", " to=a<b", "analysis", ">x", " json", "user"])
written = st.one_of(
    control.map(lambda token_id: [token_id]),
    header_words.map(TOKENIZER.encode),
    st.integers(0, 200_018).map(lambda token_id: [token_id]),
)


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(written, max_size=20))
def test_nothing_a_model_writes_raises_now_or_in_the_next_prompt(pieces):
    tokens = [token_id for piece in pieces for token_id in piece]
    events = _ask(ScriptedEngine(tokens), tools=[_tool(None)], stop=["x"])
    done = events[-1]
    assert isinstance(done, Done)
    assert [event.message for event in _of(events, MessageDone)] == list(done.messages)
    for message in done.messages:
        assert message.author.role == "assistant"
    again = [user_message("Hi"), *done.messages, user_message("Go on")]
    list(respond(ScriptedEngine(FINAL), TOKENIZER, Question(again)))


def test_a_header_that_no_prompt_can_hold_is_left_out():
    script = "<|channel|>commentary to=a<b <|constrain|>json<|message|>{}<|call|>"
    events = _ask(ScriptedEngine(script), tools=[_tool()])
    (message,) = events[-1].messages
    assert (message.channel, message.recipient, message.text) == ("commentary", None, "{}")
    assert _of(events, ToolCall) == []
    assert events[-1].finish_reason is Ending.STOP


def test_endoftext_ends_an_answer():
    engine = ScriptedEngine("<|channel|>final<|message|>Well<|endoftext|>ignored")
    events = _ask(engine)
    assert _texts(events, TextDelta) == "Well"
    assert events[-1].finish_reason is Ending.STOP


def test_when_the_model_speaks_for_the_user_its_turn_is_over():
    said = "<|channel|>final<|message|>Hello.<|end|><|start|>user<|message|>Bye.<|end|>" + FINAL
    engine = ScriptedEngine(said)
    events = _ask(engine)
    assert _texts(events, TextDelta) == "Hello."
    assert len(events[-1].messages) == 1
    assert engine.closed_early == 1


def test_stop_strings_cut_the_answer_and_nothing_else():
    script = THOUGHT + FINAL.replace("It is 3.", "one, two, three")
    engine = ScriptedEngine(script)
    events = _ask(engine, stop=["me", ", t", "zzz"])
    assert _texts(events, ReasoningDelta) == "Let me see."
    assert _texts(events, TextDelta) == "one"
    assert events[-1].finish_reason is Ending.STOP
    assert events[-1].messages[-1].text == "one"
    assert engine.closed_early == 1


def test_text_held_back_for_a_stop_string_is_not_lost():
    events = _ask(ScriptedEngine(FINAL), stop=["3.14"])
    assert _texts(events, TextDelta) == "It is 3."
    assert events[-1].messages[-1].text == "It is 3."


def test_preambles_are_text_but_not_the_answer():
    script = "<|channel|>commentary<|message|>I will look.<|end|>" + FINAL
    deltas = _of(_ask(ScriptedEngine(script)), TextDelta)
    assert "".join(delta.text for delta in deltas if delta.preamble) == "I will look."
    assert "".join(delta.text for delta in deltas if not delta.preamble) == "It is 3."


@pytest.mark.parametrize("ends", [FinishReason.ABORT, FinishReason.DEADLINE])
def test_endings_of_the_engine_are_passed_on(ends):
    done = _ask(ScriptedEngine(THOUGHT, ends=ends))[-1]
    assert done.finish_reason.value == ends.value


def test_a_failing_engine_is_an_error():
    with pytest.raises(EngineClosedError, match="the engine failed: boom"):
        _ask(ScriptedEngine(THOUGHT, ends=FinishReason.ERROR))


def test_bad_requests():
    with pytest.raises(RequestError, match="n: a conversation goes on in one way only"):
        _ask(ScriptedEngine(), sampling=SamplingParams(n=2))
    with pytest.raises(RequestError, match="stop: a stop string is empty"):
        _ask(ScriptedEngine(), stop=[""])
    with pytest.raises(RequestError, match=r"stop: is one string; give a list: \['me'\]"):
        _ask(ScriptedEngine(), stop="me")


def test_closing_the_events_ends_the_request():
    engine = ScriptedEngine(THOUGHT + FINAL)
    events = respond(engine, TOKENIZER, Question([user_message("Hi")]))
    next(events)
    events.close()
    assert engine.closed_early == 1


def test_the_asynchronous_front_gives_the_same_events():
    async def slow_add(a: float, b: float) -> float:
        await asyncio.sleep(0)
        return a + b

    async def collect(engine, tools) -> list[Event]:
        messages = [*opening_messages(today=DAY, tools=tools), user_message("Hi")]
        return [
            event
            async for event in respond_async(
                engine, TOKENIZER, Question(messages, stop=["3."], tools=tools)
            )
        ]

    for function in (_add, slow_add):
        engine = ScriptedAsyncEngine(THOUGHT + CALL, FINAL)
        events = asyncio.run(collect(engine, [_tool(function)]))
        expected = _ask(ScriptedEngine(THOUGHT + CALL, FINAL), tools=[_tool()], stop=["3."])
        assert engine.closed_early == 1
        assert [_plain(event) for event in events] == [_plain(event) for event in expected]


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("broken")


@pytest.mark.parametrize(
    ("error", "output"),
    [
        (StopIteration("empty"), "Error: StopIteration: empty"),
        (
            _UnprintableError(),
            "Error: _UnprintableError: (its message cannot be shown: ValueError)",
        ),
    ],
)
def test_odd_exceptions_of_tools_are_results_on_both_fronts(error, output):
    def fail(**_: object) -> None:
        raise error

    async def collect() -> list[Event]:
        tools = [_tool(fail)]
        engine = ScriptedAsyncEngine(CALL, FINAL)
        messages = [*opening_messages(today=DAY, tools=tools), user_message("Hi")]
        return [
            event
            async for event in respond_async(engine, TOKENIZER, Question(messages, tools=tools))
        ]

    for events in (_ask(ScriptedEngine(CALL, FINAL), tools=[_tool(fail)]), asyncio.run(collect())):
        (result,) = _of(events, ToolResult)
        assert (result.output, result.failed) == (output, True)


def test_a_slow_function_does_not_hold_up_the_event_loop():
    seen = threading.Event()

    def wait_for_the_loop() -> bool:
        return seen.wait(timeout=20)

    async def collect() -> list[Event]:
        asyncio.get_running_loop().call_later(0.05, seen.set)
        tools = [_tool(wait_for_the_loop)]
        engine = ScriptedAsyncEngine(CALL.replace('{"a": 1, "b": 2}', "{}"), FINAL)
        messages = [*opening_messages(today=DAY, tools=tools), user_message("Hi")]
        return [
            event
            async for event in respond_async(engine, TOKENIZER, Question(messages, tools=tools))
        ]

    (result,) = _of(asyncio.run(collect()), ToolResult)
    assert result.output == "true"


def _plain(event: Event) -> Event | str:
    """Call ids are made up anew each time."""
    return event.name if isinstance(event, ToolCall | ToolResult) else event

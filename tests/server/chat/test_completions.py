from __future__ import annotations

import asyncio
import json

import openai
import pytest
from pydantic import BaseModel

from ossia.api.turn_masks import FINAL
from ossia.errors import GrammarCostError
from ossia.harmony import ReasoningEffort, Role
from ossia.server.api_error import ApiError
from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from ossia.structured import GrammarKind
from ossia.types import FinishReason
from support.api_client import MODEL, openai_client, serving_script
from support.http_server import serving
from support.scripted_engine import TOKENIZER
from support.scripted_service import HELLO, ScriptedService
from support.waiting import wait_until

HI = [{"role": "user", "content": "Hi"}]
CALL = (
    "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant<|channel|>commentary"
    "<|message|>One moment.<|end|><|start|>assistant<|channel|>commentary to=functions.weather "
    '<|constrain|>json<|message|>{"city": "Zug"}<|call|>'
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


_GRAMMAR = {"type": "grammar", "grammar": {"definition": "a+"}}


def _ask(service: ScriptedService, *, server=None, **body):
    with openai_client(service, **(server or {})) as client:
        return client.chat.completions.create(**{"model": MODEL, "messages": HI, **body})


def _refused(**body) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as refusal:
        _ask(ScriptedService(), **body)
    return refusal.value


def _stream(service: ScriptedService, **body):
    with openai_client(service) as client:
        request = {"model": MODEL, "messages": HI, **body, "stream": True}
        with client.chat.completions.create(**request) as stream:
            return list(stream)


def _folded(client):
    """What the client's own helper makes of a stream."""
    with client.chat.completions.stream(model=MODEL, messages=HI, tools=[WEATHER]) as stream:
        stream.until_done()
        return stream.current_completion_snapshot


def _prompt(service: ScriptedService, number: int = -1) -> str:
    return TOKENIZER.decode(service.requests[number].prompt_ids)


def test_an_answer_with_its_reasoning_and_usage():
    completion = _ask(ScriptedService())
    (choice,) = completion.choices
    assert choice.message.content == "Hello there."
    assert choice.message.reasoning == choice.message.reasoning_content == "Greet."
    assert choice.finish_reason == "stop"
    assert completion.model == MODEL
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens == len(TOKENIZER.encode_with_special(HELLO))
    assert usage.completion_tokens_details.reasoning_tokens == len(TOKENIZER.encode("Greet."))
    assert usage.prompt_tokens_details.cached_tokens == 3


def test_reasoning_can_be_hidden():
    completion = _ask(ScriptedService(), server={"reasoning": "hidden"})
    assert not hasattr(completion.choices[0].message, "reasoning")
    assert completion.choices[0].message.content == "Hello there."


def test_the_order_of_chunks():
    chunks = _stream(ScriptedService())
    assert len({chunk.id for chunk in chunks}) == 1
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert deltas[0].content == ""
    kinds = ["reasoning" if hasattr(delta, "reasoning") else "content" for delta in deltas[1:-1]]
    assert kinds == sorted(kinds, reverse=True)
    assert "".join(delta.content or "" for delta in deltas) == "Hello there."
    assert "".join(getattr(delta, "reasoning", "") for delta in deltas) == "Greet."
    assert [
        chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason
    ] == ["stop"]
    assert chunks[-1].choices[0].delta.to_dict() == {}


def test_usage_in_a_stream_comes_last_and_is_null_before():
    chunks = _stream(ScriptedService(), stream_options={"include_usage": True})
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == len(TOKENIZER.encode_with_special(HELLO))


def test_running_usage_in_every_chunk():
    options = {"include_usage": True, "continuous_usage_stats": True}
    service = ScriptedService(pause=0.001)
    chunks = _stream(service, stream_options=options)
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts)
    assert {chunk.usage.prompt_tokens for chunk in chunks} == {len(service.requests[0].prompt_ids)}


def test_a_tool_call():
    completion = _ask(ScriptedService(CALL), tools=[WEATHER])
    (choice,) = completion.choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "One moment."
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments) == {"city": "Zug"}


def test_a_streamed_tool_call():
    chunks = _stream(ScriptedService(CALL, pause=0.001), tools=[WEATHER])
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    first, *rest = calls
    assert (first.index, first.type, first.function.name) == (0, "function", "weather")
    assert first.function.arguments == ""
    assert first.id.startswith("call_")
    assert all(call.id is None and call.function.name is None for call in rest)
    assert json.loads("".join(call.function.arguments for call in rest)) == {"city": "Zug"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_result_of_a_call_follows_the_remembered_reasoning():
    service = ScriptedService(CALL, HELLO)
    with openai_client(service) as client:
        first = client.chat.completions.create(model=MODEL, messages=HI, tools=[WEATHER])
        call = first.choices[0].message.tool_calls[0]
        said = {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]}
        result = {
            "role": "tool",
            "tool_call_id": call.id,
            "content": [{"type": "text", "text": "Rain"}],
        }
        client.chat.completions.create(model=MODEL, messages=[*HI, said, result], tools=[WEATHER])
    prompt = _prompt(service)
    assert "<|channel|>analysis<|message|>Look it up.<|end|>" in prompt
    assert "functions.weather to=assistant<|channel|>commentary<|message|>Rain<|end|>" in prompt


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning_that_is_sent_back_is_shown_to_the_model(name):
    service = ScriptedService()
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, name: "Own thoughts.", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "Rain"}
    _ask(service, messages=[*HI, said, result], tools=[WEATHER])
    assert "<|channel|>analysis<|message|>Own thoughts.<|end|>" in _prompt(service)


def test_functions_from_before_there_were_tools():
    functions = [WEATHER["function"]]
    choice = _ask(ScriptedService(CALL), functions=functions).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call.name == "weather"
    assert choice.message.tool_calls is None
    chunks = _stream(ScriptedService(CALL), functions=functions)
    calls = [chunk.choices[0].delta.function_call for chunk in chunks]
    texts = [call.arguments for call in calls if call is not None]
    assert json.loads("".join(texts)) == {"city": "Zug"}


def test_results_of_such_functions_are_read():
    service = ScriptedService()
    said = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "42"}
    _ask(service, messages=[*HI, said, result])
    assert "functions.f to=assistant" in _prompt(service)


@pytest.mark.parametrize(
    ("choice", "expected", "offered"),
    [
        pytest.param("auto", "auto", ("weather", "news"), id="auto"),
        pytest.param("none", "none", ("weather", "news"), id="none"),
        pytest.param("required", "required", ("weather", "news"), id="required"),
        pytest.param(
            {"type": "function", "function": {"name": "news"}},
            "functions.news",
            ("weather", "news"),
            id="named",
        ),
        pytest.param(
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "news"}}],
                },
            },
            "required",
            ("news",),
            id="allowed",
        ),
    ],
)
def test_tool_choice_in_every_form(choice, expected, offered):
    service = ScriptedService()
    news = {"type": "function", "function": {"name": "news"}}
    _ask(service, tools=[WEATHER, news], tool_choice=choice)
    (question,) = service.questions
    assert question.tool_choice == expected
    tools = question.messages[1].content[0].tools["functions"].tools
    assert tuple(tool.name for tool in tools) == offered


def test_a_custom_tool_takes_text_and_its_grammar_holds():
    service = ScriptedService("<|channel|>commentary to=functions.sql<|message|>SELECT 1<|call|>")
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "SELECT .*"}}
    tool = {"type": "custom", "custom": {"name": "sql", "format": grammar}}
    choice = {"type": "custom", "custom": {"name": "sql"}}
    completion = _ask(service, tools=[tool], tool_choice=choice)
    (call,) = completion.choices[0].message.tool_calls
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "sql", "SELECT 1")
    assert service.questions[0].tool_choice == "functions.sql"
    assert service.questions[0].grammars["functions.sql"].kind is GrammarKind.REGEX


def test_several_choices_draw_with_different_seeds():
    service = ScriptedService()
    completion = _ask(service, n=3, seed=5)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert [question.sampling.seed for question in service.questions] == [5, 6, 7]
    once = len(TOKENIZER.encode_with_special(HELLO))
    assert completion.usage.completion_tokens == 3 * once
    assert completion.usage.prompt_tokens == len(service.requests[0].prompt_ids)


def test_several_choices_in_a_stream():
    chunks = _stream(ScriptedService(pause=0.001), n=2)
    for index in (0, 1):
        texts = [
            one.delta.content or ""
            for chunk in chunks
            for one in chunk.choices
            if one.index == index
        ]
        assert "".join(texts) == "Hello there."


def test_sampling_fields_reach_the_engine():
    service = ScriptedService()
    _ask(
        service,
        temperature=0.5,
        top_p=0.9,
        seed=-1,
        frequency_penalty=0.25,
        presence_penalty=-0.5,
        logit_bias={"11": -100},
        max_completion_tokens=50,
        max_tokens=50,
        stop=["x", "y"],
        extra_body={
            "top_k": 7,
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "priority": -3,
            "cache_salt": "x",
        },
    )
    (question,) = service.questions
    sampling = question.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 7)
    assert (sampling.min_p, sampling.repetition_penalty) == (0.1, 1.2)
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.25, -0.5)
    assert sampling.logit_bias == {11: -100}
    assert sampling.max_tokens == 50
    assert sampling.seed == 2**63 - 1
    assert question.stop == ("x", "y")
    assert (question.priority, question.cache_salt) == (-3, "x")


def test_ignoring_the_end_asks_for_all_tokens():
    service = ScriptedService()
    _ask(service, max_tokens=9, extra_body={"ignore_eos": True})
    assert service.questions[0].sampling.min_tokens == 9
    assert _refused(extra_body={"ignore_eos": True}).body["param"] == "ignore_eos"


def test_the_token_limit_ends_with_length():
    choice = _ask(ScriptedService(), max_tokens=3).choices[0]
    assert choice.finish_reason == "length"


def test_a_stop_string_is_cut_off():
    choice = _ask(ScriptedService(), stop=" there").choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hello", "stop")


def test_logprobs_are_of_the_answer_only():
    completion = _ask(ScriptedService(), logprobs=True, top_logprobs=2)
    entries = completion.choices[0].logprobs.content
    assert "".join(entry.token for entry in entries) == "Hello there."
    assert all(bytes(entry.bytes).decode() == entry.token for entry in entries)
    assert all(len(entry.top_logprobs) == 2 for entry in entries)
    chunks = _stream(ScriptedService(), logprobs=True)
    streamed = [
        entry.token
        for chunk in chunks
        if chunk.choices[0].logprobs is not None
        for entry in chunk.choices[0].logprobs.content
    ]
    assert "".join(streamed) == "Hello there."


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        pytest.param({"type": "json_object"}, GrammarKind.JSON_OBJECT, id="object"),
        pytest.param(
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            GrammarKind.JSON_SCHEMA,
            id="schema",
        ),
        pytest.param({"type": "regex", "pattern": "a+"}, GrammarKind.REGEX, id="regex"),
        pytest.param(
            {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "a"'}},
            GrammarKind.LARK,
            id="lark",
        ),
    ],
)
def test_response_formats_become_grammars_of_the_answer(wanted, kind):
    service = ScriptedService()
    _ask(service, response_format=wanted)
    assert service.questions[0].grammars[FINAL].kind is kind


def test_a_schema_is_shown_to_the_model():
    service = ScriptedService()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"name": "thing", "description": "A thing.", "schema": schema}
    messages = [{"role": "system", "content": "Be kind."}, *HI]
    _ask(service, messages=messages, response_format={"type": "json_schema", "json_schema": wanted})
    prompt = _prompt(service)
    assert (
        "# Instructions\n\nBe kind.\n\n# Response Formats\n\n## thing\n\n// A thing.\n{" in prompt
    )


def test_parse_gives_objects():
    class Point(BaseModel):
        x: int

    service = ScriptedService('<|channel|>final<|message|>{"x": 3}<|return|>')
    with openai_client(service) as client:
        completion = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Point)
    assert completion.choices[0].message.parsed == Point(x=3)


def test_the_stream_helper_accumulates_the_same():
    service = ScriptedService(CALL)
    with openai_client(service) as client:
        completion = _folded(client)
    choice = completion.choices[0]
    assert choice.message.content == "One moment."
    assert choice.message.tool_calls[0].function.arguments == '{"city": "Zug"}'
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("asked", "effort", "reasoning"),
    [
        ("none", ReasoningEffort.LOW, False),
        ("minimal", ReasoningEffort.LOW, True),
        ("medium", ReasoningEffort.MEDIUM, True),
        ("max", ReasoningEffort.HIGH, True),
    ],
)
def test_reasoning_effort(asked, effort, reasoning):
    service = ScriptedService()
    _ask(service, reasoning_effort=asked)
    (question,) = service.questions
    assert question.messages[0].content[0].reasoning_effort is effort
    assert question.reasoning is reasoning


def test_late_system_messages_stand_where_they_were():
    service = ScriptedService()
    late = {"role": "system", "content": "Now in verse."}
    _ask(service, messages=[*HI, late])
    roles = [message.author.role for message in service.questions[0].messages]
    assert roles == [Role.SYSTEM, Role.USER, Role.DEVELOPER]


def test_images_are_refused_or_noted():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    assert _refused(messages=messages).body["param"] == "messages[0].content[1].type"
    service = ScriptedService()
    _ask(service, messages=messages, server={"images": "note"})
    assert "cannot see images" in _prompt(service)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param({"n": 17}, "n", id="n"),
        pytest.param({"n": 2**40}, "n", id="huge-n"),
        pytest.param({"n": 0}, "n", id="no-n"),
        pytest.param({"temperature": -1}, "temperature", id="temperature"),
        pytest.param({"temperature": 2.1}, "temperature", id="hot"),
        pytest.param({"top_p": -1}, "top_p", id="top-p"),
        pytest.param({"extra_body": {"top_k": -2}}, "top_k", id="top-k"),
        pytest.param({"max_tokens": 0}, "max_tokens", id="max-tokens"),
        pytest.param({"max_tokens": -(2**63)}, "max_tokens", id="negative"),
        pytest.param({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", id="two-limits"),
        pytest.param({"logit_bias": {"x": 1}}, "logit_bias", id="bias-key"),
        pytest.param({"logit_bias": {"1": 101}}, "logit_bias", id="bias-value"),
        pytest.param({"stop": ["a", ""]}, "stop", id="empty-stop"),
        pytest.param({"top_logprobs": 3}, "top_logprobs", id="top-without-logprobs"),
        pytest.param({"logprobs": True, "top_logprobs": 21}, "top_logprobs", id="top"),
        pytest.param({"messages": []}, "messages", id="no-messages"),
        pytest.param({"messages": [{"role": "x"}]}, "messages[0].role", id="role"),
        pytest.param({"tools": [{"type": "web_search_x"}]}, "tools[0].type", id="tool-type"),
        pytest.param({"tools": [WEATHER, WEATHER]}, "tools[1].function.name", id="twice"),
        pytest.param(
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            id="tool-name",
        ),
        pytest.param(
            {"tools": [{"type": "custom", "custom": {"description": "x"}}]},
            "tools[0].custom.name",
            id="custom-name",
        ),
        pytest.param(
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": _GRAMMAR}}]},
            "tools[0].custom.format.grammar.syntax",
            id="custom-grammar",
        ),
        pytest.param(
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
            id="tool-choice",
        ),
        pytest.param(
            {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
            "tool_choice.allowed_tools.mode",
            id="allowed-tools",
        ),
        pytest.param({"functions": [{"name": "a b"}]}, "functions[0].name", id="function"),
        pytest.param(
            {"functions": [WEATHER["function"]], "function_call": {"name": "x"}},
            "function_call.name",
            id="function-call",
        ),
        pytest.param({"tool_choice": "required"}, "tool_choice", id="nothing-to-call"),
        pytest.param({"audio": {"voice": "x", "format": "wav"}}, "audio", id="audio"),
        pytest.param({"modalities": ["text", "audio"]}, "modalities", id="modalities"),
        pytest.param({"web_search_options": {}}, "web_search_options", id="web-search"),
        pytest.param({"metadata": {"a" * 65: "b"}}, "metadata", id="metadata"),
        pytest.param({"stream_options": {"include_usage": True}}, "stream_options", id="options"),
        pytest.param({"reasoning_effort": "extreme"}, "reasoning_effort", id="effort"),
        pytest.param(
            {"messages": [{"role": "tool", "tool_call_id": "no", "content": "x"}]},
            "messages[0].tool_call_id",
            id="result-of-no-call",
        ),
        pytest.param(
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            id="no-schema",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body, param):
    refusal = _refused(**body)
    assert refusal.status_code == 400
    assert refusal.body["param"] == param


@pytest.mark.parametrize(
    ("given", "member"),
    [
        ({}, "name"),
        ({"name": "n", "strict": True}, "schema"),
        ({"name": "a b", "schema": {}}, "name"),
        ({"name": "n" * 65, "schema": {}}, "name"),
        ({"name": "n", "schema": "{}"}, "schema"),
    ],
    ids=str,
)
def test_schemas_follow_the_rules_of_the_responses_api(given, member):
    refusal = _refused(response_format={"type": "json_schema", "json_schema": given}).body
    form = {"format": {"type": "json_schema", **given}}
    with openai_client(ScriptedService()) as client, pytest.raises(openai.APIError) as there:
        client.responses.create(model=MODEL, input="Hi", text=form)
    assert refusal["param"] == f"response_format.json_schema.{member}"
    path = f"text.format.{member}"
    assert there.value.body["param"] == path
    assert refusal["message"].replace(refusal["param"], path) == there.value.body["message"]


def test_values_at_the_ends_are_taken():
    service = ScriptedService()
    _ask(service, temperature=2, top_p=0, extra_body={"top_k": -1})
    sampling = service.questions[0].sampling
    assert (sampling.temperature, sampling.top_k) == (2, 0), "-1 is all for clients of vLLM"


def test_an_unknown_model_is_not_found():
    refusal = _refused(model="gpt-5")
    assert (refusal.status_code, refusal.code) == (404, "model_not_found")
    assert MODEL in refusal.message


@pytest.mark.parametrize("name", [MODEL, f"{MODEL}:latest", f"{MODEL}@main", "other"])
def test_names_that_the_model_answers_to(name):
    assert _ask(ScriptedService(), model=name, server={"aliases": ("other",)}).model == MODEL


def test_a_full_queue_is_told_before_the_stream():
    service = ScriptedService(refuse=ApiError.overloaded("full", retry_after=2))
    with openai_client(service) as client, pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(model=MODEL, messages=HI, stream=True)
    assert refusal.value.response.headers["retry-after"] == "2"
    assert refusal.value.request_id.startswith("req_")


def test_a_fault_in_mid_stream_is_an_event_and_the_end():
    with pytest.raises(openai.APIError, match="boom"):
        _stream(ScriptedService(dies_after=4))


def test_a_fault_of_the_engine_without_a_stream_is_a_500():
    with pytest.raises(openai.InternalServerError) as refusal:
        _ask(ScriptedService(dies_after=2))
    assert refusal.value.code == "server_error"


def test_an_error_of_the_engine_is_a_500_too():
    script = "<|channel|>final<|message|>Hel"
    with pytest.raises(openai.InternalServerError, match="boom"):
        _ask(ScriptedService(script, ends=FinishReason.ERROR))


def test_a_client_that_goes_away_ends_the_request():
    service = ScriptedService(stalls_after=5)
    with openai_client(service) as client:
        stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        next(iter(stream))
        stream.close()
        wait_until(lambda: service.closed_early == 1)
    assert service.running == 0


def test_a_client_that_gives_up_waiting_ends_the_request():
    service = ScriptedService(stalls_after=5)
    with openai_client(service) as client, pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model=MODEL, messages=HI)
    wait_until(lambda: service.closed_early == 1)
    assert service.running == 0


def test_the_asynchronous_client():
    async def run(address):
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
            body = {"model": MODEL, "messages": HI}
            whole, stream = await asyncio.gather(
                client.chat.completions.create(**body),
                client.chat.completions.create(**body, stream=True),
            )
            texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert whole.choices[0].message.content == "".join(texts) == "Hello there."

    with serving_script(ScriptedService()) as address:
        asyncio.run(run(address))


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_that_is_to_be_kept_is_kept_before_its_end_is_told(stream):
    store = SqliteStore()
    state = ServerState(settings=ServerSettings(), service=ScriptedService(), store=store)
    body = {"model": MODEL, "messages": HI, "store": True, "metadata": {"a": "b"}, "stream": stream}
    with serving(create_app(state)) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
            got = client.chat.completions.create(**body)
            completion_id = [chunk.id for chunk in got][-1] if stream else got.id
        kept = asyncio.run(store.get_chat(completion_id))
    asyncio.run(store.close())
    assert kept.messages == HI
    assert kept.completion["metadata"] == {"a": "b"}
    assert kept.completion["choices"][0]["message"]["content"] == "Hello there."


def test_a_grammar_that_turns_out_too_costly_is_the_clients_mistake():
    why = "the grammar takes too long for each token; make it smaller"
    service = ScriptedService("<|channel|>final<|message|>{", ends=FinishReason.ERROR)
    service.failure = f"the token mask failed: {GrammarCostError(why)!r}"
    with pytest.raises(openai.BadRequestError, match=why) as refusal:
        _ask(service)
    assert refusal.value.type == "invalid_request_error"
    with pytest.raises(openai.APIError, match=f"^{why}"):
        _stream(service)

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from types import SimpleNamespace
from urllib.parse import urlsplit

import openai
import pytest
from pydantic import BaseModel

from ossia.server.api_error import ApiError
from ossia.server.app import create_app
from ossia.server.responses.direct_stream import DirectStream
from ossia.server.responses.routes import routes
from ossia.server.responses.running import start
from ossia.server.responses.schemas import ResponseRequest
from ossia.server.responses.stored_routes import stream_pieces
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from support.http_server import serving
from support.responses import around, check_stream
from support.scripted_service import HELLO, ScriptedService

CALL = (
    "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant"
    '<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>{"q":"x"}<|call|>'
)
LOOKUP = {
    "type": "function",
    "name": "lookup",
    "description": "Looks up.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"q": {"type": "string"}},
        "required": ["q"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def served(request):
    """A server over a scripted model, and a client of it."""
    options = getattr(request, "param", {})
    service = ScriptedService(*options.get("scripts", (HELLO,)), **options.get("service", {}))
    settings = ServerSettings(aliases=("m",), **options.get("settings", {}))
    state = ServerState(settings=settings, service=service)
    with serving(create_app(state)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with client:
            yield SimpleNamespace(client=client, service=service, address=address)


def post(served, body, path="/v1/responses"):
    """Status, headers and text of an answer."""
    connection = HTTPConnection(urlsplit(served.address).netloc, timeout=20)
    try:
        raw = json.dumps(body)
        connection.request("POST", path, raw, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def test_the_sdk_gets_a_response(served):
    response = served.client.responses.create(model="m", input="Hi")
    assert response.output_text == "Hello there."
    assert response.status == "completed"
    assert response.usage.total_tokens > 0


def test_the_sdks_stream_helper_ends_in_the_same_response(served):
    with served.client.responses.stream(model="m", input="Hi") as stream:
        final = stream.get_final_response()
    whole = served.client.responses.create(model="m", input="Hi")
    assert final.output_text == whole.output_text
    assert [item.type for item in final.output] == [item.type for item in whole.output]


@pytest.mark.parametrize("served", [{"scripts": (CALL, HELLO)}], indirect=True)
def test_a_tool_loop_of_the_sdk_runs_to_the_answer(served):
    items = [{"role": "user", "content": "Hi"}]
    first = served.client.responses.create(model="m", input=items, tools=[LOOKUP])
    call = first.output[-1]
    items += [item.model_dump() for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "7"})
    second = served.client.responses.create(model="m", input=items, tools=[LOOKUP])
    assert second.output_text == "Hello there."
    prompt = served.service.requests[-1].prompt_ids
    text = served.service.tokenizer.decode(prompt)
    assert "<|channel|>analysis<|message|>Look.<|end|>" in text
    assert "functions.lookup to=assistant<|channel|>commentary<|message|>7<|end|>" in text


def test_a_stream_is_named_events_that_end_in_done(served):
    status, headers, text = post(served, {"input": "Hi", "stream": True})
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    *pieces, last, rest = text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    events = []
    for piece in pieces:
        name, data = piece.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    check_stream(events)


def test_streamed_and_whole_are_the_same_but_for_ids_and_times(served):
    body = {"input": "Hi", "include": ["message.output_text.logprobs"]}
    whole = json.loads(post(served, body)[2])
    text = post(served, {**body, "stream": True})[2]
    streamed = json.loads(text.split("\n\n")[-3].split("data: ")[1])["response"]
    for response in (whole, streamed):
        for name in ("id", "created_at", "completed_at"):
            del response[name]
        for item in response["output"]:
            del item["id"]
    assert streamed == whole


def test_obfuscation_pads_deltas_on_request(served):
    body = {"input": "Hi", "stream": True, "stream_options": {"include_obfuscation": True}}
    lines = [line for line in post(served, body)[2].splitlines() if line.startswith("data: {")]
    deltas = [event for event in map(json.loads, (line[6:] for line in lines)) if "delta" in event]
    assert deltas
    assert all((len(one["delta"]) + len(one["obfuscation"])) % 32 == 0 for one in deltas)


def test_what_was_left_out_is_told_in_a_header(served):
    body = {"input": "Hi", "tools": [{"type": "web_search"}]}
    for stream in (False, True):
        headers = post(served, {**body, "stream": stream})[1]
        assert (
            headers["x-ossia-left-out"]
            == "tools[0] (web_search: start the server with --web-search)"
        )
    assert "x-ossia-left-out" not in post(served, {"input": "Hi"})[1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_mistake_is_refused_before_a_stream_begins(served, stream):
    status, headers, text = post(served, {"input": "Hi", "temperature": 3, "stream": stream})
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert json.loads(text)["error"]["param"] == "temperature"


@pytest.mark.parametrize(
    ("body", "param"),
    [({"include": ["bogus"]}, "include[0]"), ({"service_tier": "bogus"}, "service_tier")],
    ids=["include", "tier"],
)
def test_values_that_do_not_exist_are_refused(served, body, param):
    status, _, text = post(served, {"input": "Hi", **body})
    assert (status, json.loads(text)["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "served", [{"service": {"refuse": ApiError.overloaded("full")}}], indirect=True
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_is_told_before_a_stream_begins(served, stream):
    status, headers, _ = post(served, {"input": "Hi", "stream": stream})
    assert (status, headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize("served", [{"service": {"dies_after": 5}}], indirect=True)
def test_an_engine_that_dies_is_an_error_to_the_sdk(served):
    with pytest.raises(openai.InternalServerError):
        served.client.responses.create(model="m", input="Hi")
    with pytest.raises(openai.APIError, match="boom"):
        for _ in served.client.responses.create(model="m", input="Hi", stream=True):
            pass
    text = post(served, {"input": "Hi", "stream": True})[2]
    assert [line for line in text.splitlines() if line.startswith("event")][-2:] == [
        "event: error",
        "event: response.failed",
    ]
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("served", [{"service": {"stalls_after": 3}}], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_response(served, stream):
    connection = HTTPConnection(urlsplit(served.address).netloc, timeout=20)
    body = json.dumps({"input": "Hi", "stream": stream})
    connection.request("POST", "/v1/responses", body, {"content-type": "application/json"})
    _until(served.service.stalled.is_set)
    assert served.service.running == 1
    connection.close()
    _until(lambda: served.service.running == 0)
    assert served.service.closed_early == 1


def _until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens"])
def test_another_model_is_not_found(served, path):
    status, _, text = post(served, {"model": "gpt-7", "input": "Hi"}, path)
    assert (status, json.loads(text)["error"]["code"]) == (404, "model_not_found")


def test_input_tokens_are_the_prompts(served):
    body = {"input": "Hi", "instructions": "Be brief.", "tools": [LOOKUP]}
    counted = served.client.responses.input_tokens.count(model="m", **body)
    assert counted.object == "response.input_tokens"
    response = served.client.responses.create(model="m", **body)
    assert counted.input_tokens == response.usage.input_tokens


def test_input_tokens_refuse_what_the_response_would(served):
    status, _, text = post(served, {"input": [{}]}, "/v1/responses/input_tokens")
    assert (status, json.loads(text)["error"]["param"]) == (400, "input[0].role")


def test_parsed_output_of_the_sdk(served):
    class Answer(BaseModel):
        a: int

    served.service._scripts = [
        served.service.tokenizer.encode_with_special(
            '<|channel|>final <|constrain|>json<|message|>{"a":1}<|return|>'
        )
    ]
    parsed = served.client.responses.parse(model="m", input="Hi", text_format=Answer)
    assert parsed.output_parsed == Answer(a=1)
    assert "final" in served.service.questions[-1].grammars


def test_the_routes_are_made_before_the_tokenizer_was_read():
    class Loading:
        model = "m"

        @property
        def tokenizer(self):
            raise ApiError.unavailable("loading")

    assert routes(ServerState(settings=ServerSettings(), service=Loading()))


def _direct(live, keep_alive=15.0):
    pieces = stream_pieces(live.batches())
    return DirectStream(live, pieces, keep_alive=keep_alive, headers={})


async def _stays():
    await asyncio.Event().wait()


def test_a_stream_that_nobody_began_to_read_frees_the_engine():
    async def scenario():
        surroundings = around(HELLO, stalls_after=2)
        live, _ = await start(ResponseRequest(input="Hi"), surroundings)
        response = _direct(live)

        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            del message

        await response({"type": "http"}, receive, send)
        assert surroundings.service.running == 0
        assert live.fold.response["status"] == "cancelled"

    asyncio.run(scenario())


def test_silence_is_filled_with_comments():
    async def scenario():
        surroundings = around(HELLO, stalls_after=4)
        live, _ = await start(ResponseRequest(input="Hi"), surroundings)
        sent = []

        async def send(message):
            sent.append(message.get("body", b""))
            if sent.count(b": keep-alive\n\n") == 2:
                surroundings.service.go_on.set()

        await _direct(live, keep_alive=0.01)({"type": "http"}, _stays, send)
        assert b"".join(sent).endswith(b"data: [DONE]\n\n")
        assert sent.count(b": keep-alive\n\n") >= 2

    asyncio.run(scenario())


@pytest.mark.parametrize("taken", [0, 2, 3])
def test_a_client_that_takes_nothing_is_dropped(taken):
    async def scenario():
        surroundings = around(HELLO, stalls_after=4)
        live, _ = await start(ResponseRequest(input="Hi"), surroundings)
        num_sent = 0

        async def send(message):
            nonlocal num_sent
            num_sent += 1
            if num_sent > taken:
                await asyncio.Event().wait()

        await asyncio.wait_for(_direct(live, keep_alive=0.01)({}, _stays, send), 10)
        assert surroundings.service.running == 0

    asyncio.run(scenario())


def test_with_many_streams_open_each_is_written_to_less_often():
    script = "<|channel|>final<|message|>" + " word" * 200 + "<|return|>"

    async def num_writes(others):
        surroundings = around(script, pause=0.0)
        with ExitStack() as stack:
            for _ in range(others):
                stack.enter_context(surroundings.pacing.open())
            live, _ = await start(ResponseRequest(input="Hi"), surroundings)
            sent = []

            async def send(message):
                sent.append(message)

            await _direct(live)({"type": "http"}, _stays, send)
        assert surroundings.pacing.pause == 0
        return len(sent)

    assert asyncio.run(num_writes(0)) > 150
    assert asyncio.run(num_writes(500)) < 20


def test_what_a_slow_client_has_not_taken_makes_longer_deltas_not_more_events():
    script = "<|channel|>final<|message|>" + " word" * 500 + "<|return|>"

    async def scenario():
        live, _ = await start(ResponseRequest(input="Hi"), around(script, pause=0.0))
        sent = []

        async def send(message):
            sent.append(message.get("body", b""))
            await asyncio.sleep(0.05)

        await _direct(live)({"type": "http"}, _stays, send)
        text = b"".join(sent)
        assert text.count(b"event: response.output_text.delta") < 20
        assert (" word" * 500).encode() in text

    asyncio.run(scenario())

"""Anthropic's Messages API over a socket, with its SDK."""

from __future__ import annotations

from types import SimpleNamespace

import anthropic
import pytest

from ossia.server.api_error import ApiError
from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from support.http_server import serving
from support.scripted_service import HELLO, ScriptedService

CALL = (
    "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant"
    '<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>{"q":"x"}<|call|>'
)
LOOKUP = {"name": "lookup", "description": "Looks up.", "input_schema": {"type": "object"}}
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def served(request):
    options = getattr(request, "param", {})
    service = ScriptedService(*options.get("scripts", (HELLO,)), **options.get("service", {}))
    state = ServerState(settings=ServerSettings(), service=service)
    with (
        serving(create_app(state)) as address,
        anthropic.Anthropic(base_url=address, api_key="none", max_retries=0) as client,
    ):
        yield SimpleNamespace(client=client, service=service)


def _create(served, **settings):
    given = {"model": "gpt-oss-test", "max_tokens": 99, "messages": HI}
    return served.client.messages.create(**given | settings)


def test_the_sdk_gets_a_message(served):
    message = _create(served, thinking={"type": "enabled", "budget_tokens": 2048})
    thinking, text = message.content
    assert thinking.thinking == "Greet."
    assert text.text == "Hello there."
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0


def test_the_sdks_stream_helper_ends_in_the_same_message(served):
    given = {"model": "gpt-oss-test", "max_tokens": 99, "messages": HI}
    with served.client.messages.stream(**given) as stream:
        assert "".join(stream.text_stream) == "Hello there."
        final = stream.get_final_message()
    whole = _create(served)
    assert [block.text for block in final.content] == [block.text for block in whole.content]
    assert final.usage == whole.usage


@pytest.mark.parametrize("served", [{"scripts": (CALL, HELLO)}], indirect=True)
def test_a_tool_loop_runs_to_the_answer_and_keeps_the_thought(served):
    call = _create(served, tools=[LOOKUP])
    assert call.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.content[0].id, "content": "42"}
    history = [
        *HI,
        {"role": "assistant", "content": [block.model_dump() for block in call.content]},
        {"role": "user", "content": [result]},
    ]
    assert _create(served, tools=[LOOKUP], messages=history).content[0].text == "Hello there."
    prompt = served.service.tokenizer.decode(served.service.requests[-1].prompt_ids)
    assert "<|channel|>analysis<|message|>Look.<|end|>" in prompt


def test_tokens_are_counted(served):
    counted = served.client.messages.count_tokens(model="gpt-oss-test", messages=HI)
    usage = _create(served).usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


@pytest.mark.parametrize(
    ("served", "kind"),
    [
        ({"service": {"refuse": ApiError.overloaded("full", retry_after=2.5)}}, anthropic.RateLimitError),
        ({"service": {"dies_after": 3}}, anthropic.InternalServerError),
    ],
    indirect=["served"],
)  # fmt: skip
def test_faults_have_their_shape(served, kind):
    with pytest.raises(kind) as failure:
        _create(served)
    assert failure.value.body["type"] == "error"
    assert failure.value.body["error"]["message"]


@pytest.mark.parametrize("served", [{"service": {"dies_after": 9}}], indirect=True)
def test_a_fault_in_mid_stream_is_told(served):
    with (
        pytest.raises(anthropic.APIStatusError, match="failed"),
        served.client.messages.stream(model="gpt-oss-test", max_tokens=99, messages=HI) as stream,
    ):
        stream.until_done()


def test_an_unknown_model_is_not_found(served):
    with pytest.raises(anthropic.NotFoundError, match="gpt-oss-test"):
        _create(served, model="claude")

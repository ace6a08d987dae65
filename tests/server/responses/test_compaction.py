"""Histories made short, with the SDK."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import openai
import pytest
from openai.types.responses import CompactedResponse

from ossia.server.app import create_app
from ossia.server.responses.sealing import Sealer
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from ossia.types import FinishReason
from support.http_server import serving
from support.scripted_engine import TOKENIZER
from support.scripted_service import HELLO, ScriptedService

SUMMARY = "<|channel|>final<|message|>The user is Ann; the file is /tmp/x.<|return|>"
WRITTEN = "The user is Ann; the file is /tmp/x."
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a":1}'}
HISTORY = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "I am Ann."},
    {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    CALL,
    {"type": "function_call_output", "call_id": "c1", "output": "It is /tmp/x."},
    {"role": "assistant", "content": "Hello Ann."},
    {"role": "user", "content": "Where is the file?"},
]


@pytest.fixture
def served(request, tmp_path):
    options = dict(getattr(request, "param", {}))
    service = ScriptedService(*options.pop("scripts", (SUMMARY, HELLO)), **options)
    settings = ServerSettings(aliases=("m",), state_folder=tmp_path)
    store = SqliteStore()
    state = ServerState(settings=settings, service=service, store=store)
    with (
        serving(create_app(state)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        yield SimpleNamespace(client=client, service=service, folder=tmp_path)
    asyncio.run(store.close())


def _prompt(served, number: int) -> str:
    return TOKENIZER.decode(served.service.requests[number].prompt_ids)


def _roles(compacted: CompactedResponse) -> list[str]:
    return [item.role if item.type == "message" else item.type for item in compacted.output]


def test_a_history_becomes_the_users_messages_and_a_sealed_summary(served):
    compacted = served.client.responses.compact(model="m", input=HISTORY)
    assert compacted.object == "response.compaction"
    assert _roles(compacted) == ["developer", "user", "user", "compaction"]
    assert compacted.output[1].content[0].text == "I am Ann."
    assert WRITTEN not in repr(compacted), "it is sealed"
    assert compacted.usage.input_tokens == len(served.service.requests[0].prompt_ids)
    assert compacted.usage.output_tokens > 0
    # The model has read all of it but reasoning that is over, and was asked for a summary.
    prompt = _prompt(served, 0)
    for told in ("Be brief.", "I am Ann.", '{"a":1}', "It is /tmp/x.", "Hello Ann."):
        assert told in prompt
    assert prompt.rpartition("<|start|>user")[2].startswith("<|message|>Write a summary")
    (question,) = served.service.questions
    assert question.final_only


def test_a_later_request_goes_on_from_it(served):
    compacted = served.client.responses.compact(model="m", input=HISTORY)
    again = compacted.to_dict(warnings=False)["output"]
    more = {"role": "user", "content": "And who am I?"}
    response = served.client.responses.create(model="m", input=[*again, more])
    assert response.output_text == "Hello there."
    prompt = _prompt(served, 1)
    said = f"<|channel|>final<|message|>Summary of the conversation so far:\n\n{WRITTEN}<|end|>"
    assert prompt.index("Where is the file?") < prompt.index(said) < prompt.index("And who am I?")
    assert "It is /tmp/x." not in prompt
    # It is stored like any other item.
    listed = served.client.responses.input_items.list(response.id, order="asc")
    assert [item.type for item in listed] == ["message"] * 3 + ["compaction", "message"]


def test_a_summary_is_summed_up_in_the_next_one(served):
    first = served.client.responses.compact(model="m", input=HISTORY)
    again = first.to_dict(warnings=False)["output"]
    second = served.client.responses.compact(model="m", input=again)
    assert WRITTEN in _prompt(served, 1)
    assert _roles(second) == ["developer", "user", "user", "compaction"]


def test_a_stored_response_is_made_short_by_its_id(served):
    served.service._scripts.reverse()
    response = served.client.responses.create(model="m", input="I am Ann.")
    compacted = served.client.responses.compact(
        model="m", previous_response_id=response.id, instructions="Speak French."
    )
    assert _roles(compacted) == ["user", "compaction"]
    prompt = _prompt(served, 1)
    assert "Hello there." in prompt
    assert "Speak French." in prompt


@pytest.mark.parametrize("served", [{"max_context": 800}], indirect=True)
def test_what_does_not_fit_is_left_out_and_that_is_said(served):
    long = [{"role": "user", "content": f"{n} " + "word " * 150} for n in range(6)]
    raw = served.client.responses.with_raw_response.compact(model="m", input=long)
    assert "the oldest" in raw.headers["x-ossia-left-out"]
    compacted = raw.parse()
    assert _roles(compacted) == ["user", "compaction"], "a quarter of the context holds one"
    assert compacted.output[0].content[0].text.startswith("5 ")


@pytest.mark.parametrize(
    "served", [{"scripts": ("<|channel|>final<|message|><|return|>",)}], indirect=True
)
def test_a_model_that_writes_nothing_is_a_failure(served):
    with pytest.raises(openai.UnprocessableEntityError, match="no summary"):
        served.client.responses.compact(model="m", input="Hi")


@pytest.mark.parametrize(
    "served",
    [{"scripts": (SUMMARY.removesuffix("<|return|>"),), "ends": FinishReason.DEADLINE}],
    indirect=True,
)
def test_half_a_summary_is_a_failure(served):
    with pytest.raises(openai.InternalServerError, match="not complete") as failed:
        served.client.responses.compact(model="m", input="Hi")
    assert failed.value.status_code == 504


def test_what_is_no_summary_of_this_server_is_refused(served):
    sealer = Sealer.of_folder(served.folder, "gpt-oss-test")
    other = Sealer(bytes(32), "gpt-oss-test")
    for forged in ("", "abc", sealer.seal("x"), other.seal("x", "compaction")):
        with pytest.raises(openai.BadRequestError) as refused:
            served.client.responses.create(
                model="m", input=[{"type": "compaction", "encrypted_content": forged}]
            )
        assert refused.value.code == "invalid_encrypted_content"
        assert refused.value.param == "input[0].encrypted_content"
    # And a summary is no reasoning.
    sealed = sealer.seal("x", "compaction")
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        served.client.responses.create(
            model="m", input=[{"type": "reasoning", "summary": [], "encrypted_content": sealed}]
        )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": [{"type": "nonsense"}]}, "input[0].type"),
        ({"input": [CALL]}, "input"),
        ({"input": "Hi", "previous_response_id": "resp_none"}, "previous_response_id"),
        ({"input": [{"type": "compaction"}]}, "input[0].encrypted_content"),
    ],
)
def test_refusals_name_the_field(served, body, param):
    with pytest.raises(openai.BadRequestError) as refused:
        served.client.responses.compact(model="m", **body)
    assert refused.value.param == param
    assert served.service.questions == []


def test_the_salt_holds_for_the_summary_too(served):
    served.client.responses.compact(model="m", input="Hi", extra_body={"cache_salt": "mine"})
    served.client.responses.compact(model="m", input="Hi")
    assert [one.cache_salt for one in served.service.questions] == ["mine", ""]


def test_an_unknown_model_is_refused(served):
    with pytest.raises(openai.NotFoundError):
        served.client.responses.compact(model="nothing", input="Hi")

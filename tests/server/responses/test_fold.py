from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.server.responses.sealing import Sealer
from ossia.tokenizer import special
from ossia.types import FinishReason
from support.model_outputs import outputs
from support.responses import KEY, answer, around, run
from support.scripted_engine import TOKENIZER

HELLO = (
    "<|channel|>analysis<|message|>Greet them.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Hello there!<|return|>"
)
LOOKUP = {
    "type": "function",
    "name": "lookup",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}
CALL = (
    "<|channel|>analysis<|message|>I must look.<|end|>"
    "<|start|>assistant<|channel|>commentary<|message|>Let me look.<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>"
    '{"q":"x"}<|call|>'
)


def _kinds(events):
    """The types of the events, runs of deltas as one."""
    kinds = [event["type"].removeprefix("response.") for event in events]
    return [kind for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]]


def test_text_comes_in_the_order_of_the_hosted_api():
    events, response = answer({}, around(HELLO))
    assert _kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    thought, message = response["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Greet them."}]
    assert thought["summary"] == []
    assert message["content"][0]["text"] == "Hello there!"
    assert message["phase"] == "final_answer"
    assert response["status"] == "completed"
    assert response["completed_at"] >= response["created_at"]


def test_a_call_has_its_name_from_the_start_and_deltas_of_its_arguments():
    events, response = answer({"tools": [LOOKUP]}, around(CALL))
    assert _kinds(events)[-6:] == [
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    thought, preamble, call = response["output"]
    assert thought["type"] == "reasoning"
    assert (preamble["phase"], preamble["content"][0]["text"]) == ("commentary", "Let me look.")
    assert (call["name"], call["arguments"], call["status"]) == (
        "lookup",
        '{"q":"x"}',
        "completed",
    )
    assert call["call_id"].startswith("call_")
    assert call["id"].startswith("fc_")
    assert "namespace" not in call


def test_calls_of_impossible_names_are_items_of_their_own():
    begin = "<|channel|>commentary to=functions.a<b<|message|>"
    script = f"{begin}1<|end|><|start|>assistant{begin}2<|call|>"
    _, response = answer({"tools": [LOOKUP]}, around(script))
    assert [(item["arguments"], item["status"]) for item in response["output"]] == [
        ("1", "incomplete"),
        ("2", "incomplete"),
    ]


def test_a_call_without_arguments_is_a_call():
    script = "<|channel|>commentary to=functions.lookup<|message|><|call|>"
    _, response = answer({"tools": [LOOKUP]}, around(script))
    (call,) = response["output"]
    assert (call["name"], call["arguments"], call["status"]) == ("lookup", "", "completed")


def test_a_call_into_a_namespace_comes_back_with_it():
    tools = [{"type": "namespace", "name": "crm", "description": "Customers.", "tools": [LOOKUP]}]
    script = "<|channel|>commentary to=crm.lookup <|constrain|>json<|message|>{}<|call|>"
    _, response = answer({"tools": tools}, around(script))
    (call,) = response["output"]
    assert (call["namespace"], call["name"]) == ("crm", "lookup")


def test_a_custom_tool_gets_text():
    tools = [{"type": "custom", "name": "shell"}]
    script = "<|channel|>commentary to=functions.shell<|message|>ls -l<|call|>"
    events, response = answer({"tools": tools}, around(script))
    (call,) = response["output"]
    assert (call["type"], call["input"], call["name"]) == ("custom_tool_call", "ls -l", "shell")
    assert call["id"].startswith("ctc_")
    assert "custom_tool_call_input.done" in _kinds(events)


@pytest.mark.parametrize("limit", range(1, 18))
def test_the_token_cap_leaves_the_last_item_incomplete(limit):
    num_tokens = len(TOKENIZER.encode_with_special(HELLO))
    assert num_tokens <= 18
    events, response = answer({"max_output_tokens": limit}, around(HELLO))
    if limit >= num_tokens:
        assert response["status"] == "completed"
        return
    assert events[-1]["type"] == "response.incomplete"
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["usage"]["output_tokens"] == limit
    *before, last = response["output"] or [{"status": "incomplete"}]
    assert all(item["status"] == "completed" for item in before)
    ended = TOKENIZER.encode_with_special(HELLO)[:limit].count(special.END)
    in_header = ended and len(response["output"]) == 1
    assert last["status"] == ("completed" if in_header else "incomplete")


def test_a_call_that_is_cut_off_is_incomplete():
    limit = len(TOKENIZER.encode_with_special(CALL)) - 2
    _, response = answer({"tools": [LOOKUP], "max_output_tokens": limit}, around(CALL))
    assert response["output"][-1]["status"] == "incomplete"
    assert response["status"] == "incomplete"


def test_a_fault_in_the_middle_is_told_twice_and_what_came_is_kept():
    events, response = answer({}, around(HELLO, dies_after=6))
    assert _kinds(events)[-2:] == ["error", "failed"]
    error, failed = events[-2:]
    assert error["error"]["code"] == error["code"] == "server_error"
    assert error["message"] == error["error"]["message"]
    assert failed["response"]["error"] == {"code": "server_error", "message": error["message"]}
    assert response["status"] == "failed"
    assert response["output"][0]["status"] == "incomplete"


def test_what_an_unknown_fault_says_stays_inside():
    surroundings = around(HELLO)

    async def broken(question):
        del question

        async def events():
            raise ValueError("secret")
            yield

        return events()

    surroundings.service.answer = broken
    events, _ = answer({}, surroundings)
    assert events[-1]["type"] == "response.failed"
    assert "secret" not in str(events)


def test_time_up_is_a_failure_that_keeps_the_text():
    cut = TOKENIZER.encode_with_special(HELLO)[:-2]
    events, response = answer({}, around(cut, ends=FinishReason.DEADLINE))
    assert events[-1]["type"] == "response.failed"
    assert "time" in response["error"]["message"]
    assert response["output"][-1]["content"][0]["text"]
    assert response["usage"]["output_tokens"] == len(cut)


def test_an_abort_is_a_cancelled_response_without_an_event():
    surroundings = around(TOKENIZER.encode_with_special(HELLO)[:-2], ends=FinishReason.ABORT)
    events, live = asyncio.run(run({"input": "Hi"}, surroundings))
    assert live.fold.response["status"] == "cancelled"
    assert events[-1]["type"] == "response.output_item.done"


def test_usage_counts_cached_and_reasoning_tokens():
    _, response = answer({}, around(HELLO))
    usage = response["usage"]
    written = usage["input_tokens"] - 3
    assert usage["input_tokens_details"] == {"cached_tokens": 3, "cache_write_tokens": written}
    assert usage["output_tokens"] == len(TOKENIZER.encode_with_special(HELLO))
    assert usage["output_tokens_details"]["reasoning_tokens"] == len(
        TOKENIZER.encode("Greet them.")
    )
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_an_empty_answer_is_a_message():
    _, response = answer({}, around("<|channel|>final<|message|><|return|>"))
    (message,) = response["output"]
    assert (message["status"], message["content"][0]["text"]) == ("completed", "")


def test_a_prefill_shows_nothing():
    events, response = answer({"generate": False}, around(HELLO))
    assert response["output"] == []
    assert response["status"] == "completed"
    assert response["usage"]["output_tokens"] == 0
    assert len(events) == 3


# Reasoning


@pytest.mark.parametrize(
    ("setting", "asked", "raw", "summary"),
    [
        ("raw", None, True, False),
        ("raw", "auto", True, True),
        ("summary", None, False, True),
        ("both", None, True, True),
        ("hidden", None, False, False),
        ("hidden", "auto", False, False),
    ],
)
def test_reasoning_is_shown_as_the_server_and_the_request_want_it(setting, asked, raw, summary):
    body = {} if asked is None else {"reasoning": {"summary": asked}}
    events, response = answer(body, around(HELLO, reasoning=setting))
    thought = response["output"][0]
    text = "Greet them."
    assert thought["content"] == ([{"type": "reasoning_text", "text": text}] if raw else [])
    assert thought["summary"] == ([{"type": "summary_text", "text": text}] if summary else [])
    assert ("Greet" in str(events)) == (raw or summary)


def test_sealed_reasoning_is_given_when_asked_for():
    body = {"include": ["reasoning.encrypted_content"], "store": False}
    events, response = answer(body, around(HELLO, reasoning="hidden"))
    sealed = response["output"][0]["encrypted_content"]
    assert Sealer(KEY, "gpt-oss-test").open(sealed) == "Greet them."
    assert "Greet" not in str(events)


def test_hidden_reasoning_of_a_kept_response_is_in_the_store_only():
    surroundings = around(HELLO, reasoning="hidden", store=object())
    events, live = asyncio.run(run({"input": "Hi"}, surroundings))
    assert "encrypted_content" not in str(events)
    kept = live.fold.kept_response["output"][0]
    assert Sealer(KEY, "gpt-oss-test").open(kept["encrypted_content"]) == "Greet them."


# Log-probabilities


@pytest.mark.parametrize("text", ["Hello there!", "naïve 🙂 日本語"])
def test_logprobs_are_those_of_the_answers_tokens(text):
    script = HELLO.replace("Hello there!", text)
    body = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    _, response = answer(body, around(script))
    logprobs = response["output"][1]["content"][0]["logprobs"]
    assert b"".join(bytes(one["bytes"]) for one in logprobs).decode() == text
    assert all(len(one["top_logprobs"]) == 2 for one in logprobs)


def test_without_asking_there_are_no_logprobs():
    _, response = answer({}, around(HELLO))
    assert response["output"][1]["content"][0]["logprobs"] == []


def test_logprobs_end_where_a_stop_string_does():
    body = {"include": ["message.output_text.logprobs"], "stop": " there"}
    _, response = answer(body, around(HELLO))
    part = response["output"][1]["content"][0]
    assert part["text"] == "Hello"
    assert [one["token"] for one in part["logprobs"]] == ["Hello"]
    assert response["status"] == "completed"


# Whatever the model writes

_bodies = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.just([LOOKUP]),
        "include": st.just(["message.output_text.logprobs", "reasoning.encrypted_content"]),
        "reasoning": st.just({"summary": "auto"}),
        "max_output_tokens": st.integers(1, 30),
        "stop": st.just(["Hi"]),
    },
)


@settings(max_examples=150, deadline=None)
@given(outputs, _bodies, st.sampled_from(["raw", "summary", "both", "hidden"]))
def test_any_output_makes_a_stream_that_a_strict_client_takes(output, body, reasoning):
    events, response = answer(body, around(output, reasoning=reasoning))
    assert response["status"] in ("completed", "incomplete")
    assert events[-1]["type"] == f"response.{response['status']}"
    assert response["usage"]["output_tokens"] <= max(len(output), 1)


@settings(max_examples=60, deadline=None)
@given(outputs.filter(bool), st.data())
def test_any_output_may_be_broken_off_anywhere(output, data):
    after = data.draw(st.integers(0, len(output) - 1))
    events, response = answer({"tools": [LOOKUP]}, around(output, dies_after=after))
    assert events[-1]["type"] == f"response.{response['status']}"


@settings(max_examples=30, deadline=None)
@given(outputs)
def test_how_events_are_taken_changes_nothing_but_the_deltas(output):
    _, slow = answer({"tools": [LOOKUP]}, around(output, pause=0.0))
    _, fast = answer({"tools": [LOOKUP]}, around(output))
    assert slow == fast

"""What the reference server gets wrong, each defect as a test that it is not so here."""

from __future__ import annotations

import pytest

from ossia.server.api_error import ApiError
from support.responses import answer, around, prompt_of, read

LOOKUP = {"type": "function", "name": "lookup", "parameters": {"type": "object"}}
USER = {"role": "user", "content": "Hi"}
ANALYSIS = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>Hello<|return|>"


def test_output_index_begins_at_0_and_has_no_gaps():
    script = (
        ANALYSIS
        + "<|channel|>commentary<|message|>One moment.<|end|><|start|>assistant"
        + "<|channel|>commentary to=functions.lookup<|message|>{}<|call|>"
    )
    events, response = answer({"tools": [LOOKUP]}, around(script))
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [0, 1, 2]
    assert [event["item"]["id"] for event in added] == [item["id"] for item in response["output"]]


def test_there_is_no_end_behind_a_call_in_the_prompt():
    call = {"type": "function_call", "call_id": "c", "name": "lookup", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "7"}
    assert "<|call|><|end|>" not in prompt_of({"input": [USER, call, output]})


def test_there_is_no_empty_developer_message():
    body = {"input": "Hi", "tools": [{"type": "web_search"}], "instructions": ""}
    assert "developer" not in prompt_of(body)


def test_words_before_a_call_are_not_lost():
    script = (
        "<|channel|>commentary<|message|>One moment.<|end|><|start|>assistant"
        "<|channel|>commentary to=functions.lookup<|message|>{}<|call|>"
    )
    events, response = answer({"tools": [LOOKUP]}, around(script))
    assert response["output"][0]["content"][0]["text"] == "One moment."
    assert any(event.get("delta", "").startswith("One") for event in events)


def test_the_token_cap_is_told():
    _, response = answer({"max_output_tokens": 4}, around(ANALYSIS + FINAL))
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


def test_the_token_cap_inside_a_header_is_no_error():
    for limit in range(1, 12):
        _, response = answer({"max_output_tokens": limit}, around(ANALYSIS + FINAL))
        assert response["status"] == "incomplete"


def test_a_constrained_final_is_a_message_not_a_call():
    script = '<|channel|>final <|constrain|>json<|message|>{"a":1}<|return|>'
    events, response = answer({}, around(script))
    (message,) = response["output"]
    assert (message["type"], message["content"][0]["text"]) == ("message", '{"a":1}')
    assert [event["type"] for event in events].count("response.output_item.added") == 1


@pytest.mark.parametrize(
    "script",
    [
        "<|channel|><|message|>Hello<|return|>",
        "analysiscommentary<|message|>Hello<|return|>",
        "<|start|>assistant<|channel|>final<|message|>Hello<|return|>",
        "<|channel|>final junk words<|message|>Hello<|return|>",
        "<|channel|>analysis<|message|>Hm.<|end|>Hello<|return|>",
        "<|channel|>commentary to=functions.nobody code<|message|>x<|call|>",
        "<|message|><|message|><|channel|><|end|>",
    ],
)
def test_malformed_headers_never_break_the_stream(script):
    events, response = answer({"tools": [LOOKUP]}, around(script))
    assert response["status"] in ("completed", "incomplete")
    assert events[-1]["type"] == f"response.{response['status']}"


def test_tools_may_be_null():
    assert read({"input": "Hi", "tools": None, "instructions": "Be brief."})


def test_an_output_of_an_unknown_call_is_the_clients_mistake():
    body = {"input": [USER, {"type": "function_call_output", "call_id": "x", "output": "7"}]}
    with pytest.raises(ApiError) as caught:
        read(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"role": "developer", "content": "Be brief."}, USER]},
        {"input": "Hi", "tools": [{"type": "web_search_preview"}]},
        {"input": "Hi", "tools": [LOOKUP], "tool_choice": "required"},
        {"input": "Hi", "tools": [LOOKUP], "tool_choice": {"type": "function", "name": "lookup"}},
    ],
)
def test_what_the_hosted_api_takes_is_taken(body):
    assert read(body)


def test_reasoning_is_replayed_between_calls_whatever_came_last():
    call = {"type": "function_call", "call_id": "c", "name": "lookup", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "7"}
    content = [{"type": "reasoning_text", "text": "Hm."}]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": content}
    assert "Hm." in prompt_of({"input": [USER, thought, call, output, USER]})


def test_all_parts_of_a_content_are_read():
    parts = [{"type": "output_text", "text": "One, "}, {"type": "output_text", "text": "two."}]
    items = [USER, {"role": "assistant", "content": parts}, USER]
    assert "One, two." in prompt_of({"input": items})


def test_an_assistants_call_says_that_it_is_json():
    call = {"type": "function_call", "call_id": "c", "name": "lookup", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "7"}
    assert "<|constrain|>json<|message|>{}<|call|>" in prompt_of({"input": [USER, call, output]})


def test_there_is_one_system_message():
    body = {"input": [{"role": "system", "content": "Be brief."}, USER]}
    assert "<|start|>system" not in prompt_of(body)


def test_usage_has_its_details_and_the_response_says_what_was_asked():
    body = {"instructions": "Be brief.", "temperature": 0.5, "tools": [LOOKUP]}
    _, response = answer(body, around(ANALYSIS + FINAL, model="some-model"))
    assert response["model"] == "some-model"
    assert response["instructions"] == "Be brief."
    assert response["temperature"] == 0.5
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 2

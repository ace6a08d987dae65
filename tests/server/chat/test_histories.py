"""Chats whose calls, results and contents fit together, and what is said of those that do not."""

from __future__ import annotations

import openai
import pytest

from support.api_client import MODEL, openai_client
from support.scripted_service import ScriptedService

HI = [{"role": "user", "content": "Hi"}]


def _calls(*ids, name="weather"):
    function = {"name": name, "arguments": "{}"}
    calls = [{"id": one, "type": "function", "function": function} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _result(call_id, **members):
    return {"role": "tool", "tool_call_id": call_id, "content": "Rain", **members}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        pytest.param([_calls("a")], "messages[0].tool_calls", id="no-result"),
        pytest.param([_calls("a"), *HI], "messages[0].tool_calls", id="then-user"),
        pytest.param(
            [*HI, _calls("a", "b"), _result("a"), *HI], "messages[1].tool_calls", id="one-of-two"
        ),
        pytest.param(
            [_calls("a"), _calls("b"), _result("a"), _result("b")],
            "messages[0].tool_calls",
            id="goes-on-without",
        ),
        pytest.param([_calls("a", "a"), _result("a")], "messages[0].tool_calls[1].id", id="alike"),
        pytest.param(
            [_calls("a"), _result("a"), _result("a")], "messages[2].tool_call_id", id="twice"
        ),
        pytest.param([*HI, _result(None)], "messages[1].tool_call_id", id="nameless"),
        pytest.param([{**HI[0], "name": "a b"}], "messages[0].name", id="name"),
        pytest.param(
            [*HI, {"role": "function", "name": "", "content": "x"}],
            "messages[1].name",
            id="function",
        ),
        pytest.param([*HI, _result("gone", name="a b")], "messages[1].name", id="tool-name"),
        pytest.param(
            [_calls("a", name="a b"), _result("a")],
            "messages[0].tool_calls[0].function.name",
            id="called-name",
        ),
        pytest.param([{"role": "user"}], "messages[0].content", id="user"),
        pytest.param([*HI, {"role": "user", "content": None}], "messages[1].content", id="null"),
        pytest.param([{"role": "system"}, *HI], "messages[0].content", id="system"),
        pytest.param([*HI, {"role": "assistant"}], "messages[1].content", id="assistant"),
        pytest.param(
            [_calls("a"), {"role": "tool", "tool_call_id": "a"}], "messages[1].content", id="tool"
        ),
    ],
)
def test_histories_that_lack_something_are_refused_where_they_do(messages, param):
    with openai_client(ScriptedService()) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODEL, messages=messages)
    refusal = caught.value
    assert (refusal.status_code, refusal.body["param"]) == (400, param)
    assert "None" not in refusal.body["message"]
    if param.endswith("tool_calls"):
        assert "must be followed by tool messages" in refusal.body["message"]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([_calls("a"), _result("a"), _calls("a"), _result("a")], id="an-id-again"),
        pytest.param([_calls(None, None), _result(None), _result(None)], id="no-ids"),
        pytest.param([_calls("a"), *HI, _result("a")], id="a-user-speaks-in-between"),
        pytest.param([*HI, _result("gone", name="weather")], id="a-result-with-a-name"),
        pytest.param([*HI, {"role": "assistant", "content": ""}, *HI], id="empty"),
        pytest.param([*HI, {"role": "assistant", "reasoning": "Hm."}, *HI], id="thoughts-alone"),
    ],
)
def test_histories_that_local_clients_send_are_taken(messages):
    with openai_client(ScriptedService()) as client:
        answer = client.chat.completions.create(model=MODEL, messages=messages)
    assert answer.choices[0].message.content == "Hello there."

"""Chats whose calls, results and contents fit together, and what is said of those that do not."""

from __future__ import annotations

import openai
import pytest

from ossia.harmony import Role
from support.api_client import MODEL, openai_client, serving_script
from support.raw_http import exchange, post
from support.scripted_service import ScriptedService

HI = [{"role": "user", "content": "Hi"}]
SAYS = {"role": "assistant", "content": "One moment."}


def _calls(*ids, name="weather"):
    return _calls_of(*((one, name) for one in ids))


def _calls_of(*pairs):
    calls = [
        {"id": one, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for one, name in pairs
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _result(call_id, **members):
    return {"role": "tool", "tool_call_id": call_id, "content": "Rain", **members}


def _function(name):
    return {"role": "function", "name": name, "content": "Rain"}


def _status(path, messages):
    with serving_script(ScriptedService()) as address:
        return exchange(address, post(path, {"messages": messages})).status


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        pytest.param([_calls("a")], "messages[0].tool_calls", id="no-result"),
        pytest.param([_calls("a"), *HI], "messages[0].tool_calls", id="then-user"),
        pytest.param(
            [*HI, _calls("a", "b"), _result("a"), *HI], "messages[1].tool_calls", id="one-of-two"
        ),
        pytest.param(
            [_calls("a"), _calls("b"), _result("a"), SAYS], "messages[1].tool_calls", id="of-others"
        ),
        pytest.param([_calls("a", "a"), _result("a")], "messages[0].tool_calls", id="alike"),
        pytest.param(
            [_calls("a", "b"), _result("z", name="x")], "messages[0].tool_calls", id="a-stray"
        ),
        pytest.param(
            [_result("z", name="x"), _calls("a")], "messages[1].tool_calls", id="a-stray-before"
        ),
        pytest.param(
            [_calls("a"), _result("z", name="x"), _result("a"), _calls("b")],
            "messages[3].tool_calls",
            id="a-stray-among-others",
        ),
        pytest.param([_calls("a"), _result("z")], "messages[1].tool_call_id", id="unknown"),
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
        pytest.param([_calls("a"), SAYS, _result("a")], id="a-text-in-between"),
        pytest.param([_calls("a"), _calls("b"), _result("a"), _result("b")], id="split"),
        pytest.param(
            [_calls("weather", "weather"), _result("weather"), _result("weather")], id="alike"
        ),
        pytest.param([*HI, _result("gone", name="weather")], id="a-result-with-a-name"),
        pytest.param([*HI, {"role": "assistant", "content": ""}, *HI], id="empty"),
        pytest.param([*HI, {"role": "assistant", "reasoning": "Hm."}, *HI], id="thoughts-alone"),
    ],
)
def test_histories_that_local_clients_send_are_taken(messages):
    with openai_client(ScriptedService()) as client:
        answer = client.chat.completions.create(model=MODEL, messages=messages)
    assert answer.choices[0].message.content == "Hello there."


TWO = _calls_of(("a", "weather"), ("b", "news"))
NO_IDS = _calls_of((None, "weather"), (None, "news"))
OLD_CALL = {
    "role": "assistant",
    "content": None,
    "function_call": {"name": "weather", "arguments": "{}"},
}


@pytest.mark.parametrize(
    ("messages", "names"),
    [
        pytest.param([_calls(None), _result("x", name="weather")], ["weather"], id="no-id"),
        pytest.param([_calls("a"), _result("z", name="x")], ["x"], id="rewritten"),
        pytest.param([_calls("a"), _result(None, name="x")], ["weather"], id="in-its-place"),
        pytest.param(
            [TWO, _result("y", name="news"), _result("z", name="weather")],
            ["news", "weather"],
            id="other-order",
        ),
        pytest.param(
            [TWO, _result("y", name="news"), _result("a")], ["news", "weather"], id="then-by-id"
        ),
        pytest.param(
            [TWO, _result("z", name="x"), _result("b"), _result("a")],
            ["x", "news", "weather"],
            id="a-stray-takes-no-call",
        ),
        pytest.param(
            [NO_IDS, _result("y", name="news"), _result(None)], ["news", "weather"], id="the-rest"
        ),
        pytest.param([TWO, _function("news"), _function("x")], ["news", "weather"], id="function"),
        pytest.param([OLD_CALL, *HI, _calls(None), _result(None)], ["weather"], id="old-one-waits"),
        pytest.param([OLD_CALL, _result(None)], ["weather"], id="old-call"),
    ],
)
def test_results_without_known_ids_belong_to_calls_by_name_or_by_order(messages, names):
    service = ScriptedService()
    with openai_client(service) as client:
        client.chat.completions.create(model=MODEL, messages=messages)
    authors = [message.author for message in service.questions[0].messages]
    shown = [author.name for author in authors if author.role is Role.TOOL]
    assert shown == [f"functions.{name}" for name in names]


@pytest.mark.parametrize("path", ["/tokenize", "/render", "/v1/chat/completions/render"])
@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([*HI, _calls("a")], id="no-result"),
        pytest.param([*HI, _calls("a", "b"), _result("a")], id="one-of-two"),
        pytest.param([{"role": "user", "content": None}], id="null"),
        pytest.param([*HI, {"role": "assistant"}], id="assistant"),
        pytest.param([_calls("a"), {"role": "tool", "tool_call_id": "a"}], id="tool"),
    ],
)
def test_unfinished_histories_can_be_counted(path, messages):
    assert _status(path, messages) == 200
    assert _status("/v1/chat/completions", messages) == 400


@pytest.mark.parametrize("path", ["/tokenize", "/render"])
def test_results_of_no_call_cannot_be_shown(path):
    assert _status(path, [*HI, _result("gone")]) == 400

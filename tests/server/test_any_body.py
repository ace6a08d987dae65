"""Whatever JSON a client sends, it is answered or refused, never a fault of the server."""

from __future__ import annotations

import json
from http.client import HTTPConnection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.server.chat.schemas import ChatRequest
from ossia.server.completions.schemas import CompletionRequest
from support.api_client import serving_script
from support.scripted_service import ScriptedService

_WORDS = (
    "auto", "none", "required", "function", "custom", "allowed_tools", "text", "json_schema",
    "json_object", "regex", "grammar", "lark", "user", "assistant", "tool", "system", "developer",
    "image_url", "low", "max", "gpt-oss-test", "f", "", "a b", "<|end|>", "\x00", "\N{SNOWMAN}",
)  # fmt: skip
_KEYS = (
    "type", "function", "custom", "name", "arguments", "parameters", "tools", "mode", "role",
    "content", "text", "tool_calls", "tool_call_id", "id", "format", "grammar", "syntax", "strict",
    "definition", "json_schema", "schema", "pattern", "reasoning", "allowed_tools", "description",
    "include_usage", "continuous_usage_stats", "function_call", "refusal", "input", "properties",
    "enum", "anyOf", "items", "required",
)  # fmt: skip
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-2, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(_WORDS)
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5)
    ),
    max_leaves=25,
)
_TEXT = st.sampled_from(_WORDS) | st.text(max_size=8)
_NAME = st.sampled_from(("f", "g")) | _TEXT
_PARTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(("text", "refusal", "image_url"))},
        optional={"text": _TEXT, "refusal": _TEXT},
    ),
    max_size=3,
)
_CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("ab"),
            "function": st.fixed_dictionaries({"name": _NAME, "arguments": _TEXT}),
        }
    ),
    max_size=2,
)
_CHATS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("system", "developer", "user", "assistant", "tool", "function"))},
        optional={
            "content": _TEXT | _PARTS,
            "name": _TEXT,
            "tool_calls": _CALLS,
            "tool_call_id": st.sampled_from("ab"),
            "reasoning": _TEXT,
        },
    ),
    min_size=1,
    max_size=4,
)
_TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": _NAME},
                optional={
                    "description": _TEXT,
                    "parameters": st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=5),
                },
            ),
        }
    ),
    max_size=2,
)
_MESSAGES = [{"role": "user", "content": "Hi"}]
_BASES = {
    "/v1/chat/completions": (ChatRequest, {"messages": _MESSAGES}),
    "/render": (ChatRequest, {"messages": _MESSAGES}),
    "/v1/completions": (CompletionRequest, {"prompt": "Hi"}),
}


@pytest.mark.parametrize("path", _BASES)
@settings(max_examples=150)
@given(data=st.data())
def test_no_body_is_a_fault_of_the_server(path, data):
    model, base = _BASES[path]
    names = st.sampled_from(sorted(model.model_fields))
    body = {**base, **data.draw(st.dictionaries(names, _JSON, min_size=1, max_size=4))}
    _post(path, body)


@settings(max_examples=150)
@given(
    messages=_CHATS, tools=_TOOLS, schema=st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=5)
)
def test_nor_is_one_that_is_almost_right(messages, tools, schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    _post("/v1/chat/completions", {"messages": messages, "tools": tools, "response_format": wanted})


def _post(path: str, body: dict[str, object]) -> None:
    with serving_script(ScriptedService()) as address:
        connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
    assert answer.status in (200, 400, 404), told
    if answer.status != 200:
        assert set(json.loads(told)["error"]) == {"message", "type", "param", "code"}

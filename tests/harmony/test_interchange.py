"""Files of conversations and of tokens: both forms of each, and whatever else a file may hold."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.errors import HarmonyError, OssiaError, RequestError
from ossia.harmony import (
    Conversation,
    Message,
    RenderConversationConfig,
    Renderer,
    Role,
    SystemContent,
)
from ossia.harmony.chat_messages import conversation_from_chat
from ossia.harmony.interchange import (
    ChatSettings,
    read_conversation,
    read_tokens,
    read_tools,
    without_next_start,
)
from ossia.tokenizer import Tokenizer, special
from support.harmony_strategies import any_schemas, conversations

TOOL = {"type": "function", "function": {"name": "f", "description": "d"}}
HELLO = [{"role": "user", "content": "Hello"}]
DAY = ChatSettings(date="2025-06-28")


@given(conversations(any_schemas()))
def test_harmony_s_own_form_comes_back(messages: list[Message]) -> None:
    answer = Message.from_role_and_content(Role.ASSISTANT, "x").with_channel("final")
    conversation = Conversation([*messages, answer])  # its channel tells the form
    assert read_conversation(conversation.to_json()).conversation == conversation


def test_a_chat_is_read_with_what_its_body_says() -> None:
    body = {"messages": HELLO, "tools": [TOOL], "reasoning_effort": "high", "model": "m", "n": 1}
    read = read_conversation(json.dumps(body), DAY)
    expected = conversation_from_chat(
        HELLO, tools=[TOOL], reasoning_effort="high", date="2025-06-28"
    )
    assert read.conversation == expected
    assert read.unused == ("model", "n")


def test_settings_outrank_what_a_chat_says() -> None:
    body = {"messages": HELLO, "tools": [], "reasoning_effort": "high", "builtin_tools": ["python"]}
    settings = ChatSettings(
        tools=[TOOL], builtin_tools=["browser"], reasoning_effort="low", date="2000-01-01"
    )
    expected = conversation_from_chat(
        HELLO, tools=[TOOL], builtin_tools=["browser"], reasoning_effort="low", date="2000-01-01"
    )
    assert read_conversation(json.dumps(body), settings).conversation == expected


def test_a_bare_list_is_a_chat_of_today() -> None:
    system = read_conversation(json.dumps(HELLO)).conversation.messages[0].content[0]
    assert isinstance(system, SystemContent)
    today = datetime.datetime.now().astimezone().date()
    assert system.conversation_start_date in (
        today.isoformat(),
        (today - datetime.timedelta(1)).isoformat(),
    )


@pytest.mark.parametrize(
    "settings",
    [
        ChatSettings(tools=[]),
        ChatSettings(builtin_tools=[]),
        ChatSettings(reasoning_effort="low"),
        ChatSettings(date="2025-06-28"),
    ],
)
def test_settings_are_not_ignored_where_they_mean_nothing(settings: ChatSettings) -> None:
    payload = json.dumps([{"role": "assistant", "content": "x", "channel": "final"}])
    with pytest.raises(RequestError, match="only for chats"):
        read_conversation(payload, settings)


_KEYS = st.sampled_from(
    [
        *("role", "content", "name", "channel", "recipient", "content_type", "type", "text"),
        *("tools", "messages", "tool_calls", "function", "arguments", "id", "tool_call_id"),
        *("channel_config", "valid_channels", "channel_required", "instructions", "parameters"),
        *("model_identity", "reasoning_effort", "builtin_tools", "thinking", "functions", "x"),
    ]
)
_WORDS = st.sampled_from(
    [
        *("user", "assistant", "tool", "system", "developer", "text", "functions", "f", "low", ""),
        *("system_content", "developer_content", "browser", "python", "function", "a b", "\ud800"),
    ]
)
_ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=5)),
    max_leaves=12,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": _WORDS, "content": _ANYTHING},
        optional={
            "name": _ANYTHING,
            "channel": _ANYTHING,
            "tool_calls": _ANYTHING,
            "recipient": _WORDS,
            "thinking": _ANYTHING,
        },
    ),
    max_size=3,
)


@given(
    st.one_of(
        _ANYTHING,
        _MESSAGES,
        st.fixed_dictionaries(
            {"messages": _MESSAGES},
            optional={
                "tools": _ANYTHING,
                "builtin_tools": _ANYTHING,
                "model_identity": _ANYTHING,
                "reasoning_effort": _ANYTHING,
            },
        ),
    )
)
def test_any_json_is_rendered_or_refused(renderer: Renderer, data: Any) -> None:
    """Never a TypeError from deep inside."""
    try:
        conversation = read_conversation(json.dumps(data), DAY if data else None).conversation
        renderer.render_conversation(conversation)
    except OssiaError:
        pass


@pytest.mark.parametrize(
    "payload", ["", "{", "5", "{}", '{"messages": {}}', "[5]", "[" * 100_000, '[{"role": 5}]']
)
def test_what_is_no_conversation_is_refused(payload: str) -> None:
    with pytest.raises(HarmonyError):
        read_conversation(payload)


@pytest.mark.parametrize("payload", [[TOOL], TOOL, {"tools": [TOOL]}])
def test_tools_are_a_list_or_one_or_part_of_a_body(payload: object) -> None:
    assert read_tools(json.dumps(payload)) == [TOOL]


@pytest.mark.parametrize("payload", ["", "5", "[5]", '{"tools": 5}'])
def test_what_is_no_list_of_tools_is_refused(payload: str) -> None:
    with pytest.raises(HarmonyError):
        read_tools(payload)


@pytest.mark.parametrize(
    "text",
    [
        *("200006 1428 200008", "[200006, 1428,200008]\n", "200006,1428,\n200008"),
        *('{"text": "x", "tokens": [200006, 1428, 200008]}', "[200006, 1428, 200008,]"),
    ],
)
def test_ids_are_told_from_text(tokenizer: Tokenizer, text: str) -> None:
    assert read_tokens(text, tokenizer) == [200006, 1428, 200008]
    assert read_tokens(text, tokenizer, as_ids=True) == [200006, 1428, 200008]
    assert read_tokens(text, tokenizer, as_ids=False) == tokenizer.encode_with_special(text)


@pytest.mark.parametrize("text", ["<|start|>user", "1 2 x", "[1, true]", '{"tokens": [1.5]}', "{}"])
def test_text_is_no_ids(tokenizer: Tokenizer, text: str) -> None:
    assert read_tokens(text, tokenizer) == tokenizer.encode_with_special(text)
    with pytest.raises(HarmonyError, match="not a list of token ids"):
        read_tokens(text, tokenizer, as_ids=True)


def test_a_long_list_that_is_none_is_soon_told(tokenizer: Tokenizer) -> None:
    text = "1  2 , " * 20_000 + "x"
    assert read_tokens(text, tokenizer) == tokenizer.encode(text)
    digits = "1" * 10_000
    assert read_tokens(digits, tokenizer) == tokenizer.encode(digits)


def test_nothing_is_no_token(tokenizer: Tokenizer) -> None:
    assert read_tokens(" \n", tokenizer) == []


@pytest.mark.parametrize("role", Role)
def test_the_start_of_the_next_message_is_taken_off(
    renderer: Renderer, tokenizer: Tokenizer, role: Role
) -> None:
    conversation = Conversation([Message.from_role_and_content(Role.USER, "x")])
    keep = RenderConversationConfig(auto_drop_analysis=False)
    whole = renderer.render_conversation(conversation, keep)
    prompt = renderer.render_conversation_for_completion(conversation, role)
    assert without_next_start(prompt, tokenizer) == (whole, role)
    assert without_next_start(whole, tokenizer) == (whole, None)
    assert without_next_start([special.START], tokenizer) == ([special.START], None)

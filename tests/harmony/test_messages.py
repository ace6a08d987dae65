"""Messages and their JSON form, which is the library's too."""

from __future__ import annotations

from typing import Any

import openai_harmony as library
import pytest
from hypothesis import given, settings

from ossia.errors import HarmonyError
from ossia.harmony import (
    Author,
    ChannelConfig,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
)
from support.harmony_oracle import to_library
from support.harmony_strategies import any_schemas, conversations


@settings(max_examples=100)
@given(conversations(any_schemas()))
def test_json_there_and_back(messages: list[Message]) -> None:
    conversation = Conversation.from_messages(messages)
    assert Conversation.from_json(conversation.to_json()) == conversation


@settings(max_examples=100)
@given(conversations(any_schemas()))
def test_the_library_reads_our_json_and_we_read_its(messages: list[Message]) -> None:
    for message in messages:
        theirs = to_library(message)
        assert library.Message.from_dict(message.to_dict()) == theirs
        if all(isinstance(part, TextContent) for part in message.content):
            assert Message.from_dict(theirs.to_dict()) == message


def test_builders_change_the_object_and_return_it() -> None:
    message = Message.from_role_and_content(Role.ASSISTANT, "a")
    built = message.with_channel("final").with_content_type("json").with_recipient("functions.f")
    assert built.adding_content("b") is message
    assert message == Message(
        Author(Role.ASSISTANT),
        [TextContent("a"), TextContent("b")],
        channel="final",
        recipient="functions.f",
        content_type="json",
    )
    assert message.text == "ab"
    system = SystemContent.new()
    assert system.with_reasoning_effort(ReasoningEffort.HIGH) is system
    assert system.with_model_identity("m").with_knowledge_cutoff("2030-01") is system
    assert system.with_conversation_start_date("2031-01-01").with_required_channels(["a"]) is system
    assert system == SystemContent(
        "m", ReasoningEffort.HIGH, "2031-01-01", "2030-01", ChannelConfig(["a"], True)
    )
    assert list(system.with_browser_tool().with_python_tool().tools or {}) == ["browser", "python"]
    developer = DeveloperContent.new().with_instructions("i")
    tool = ToolDescription("f", "d")
    assert developer.with_function_tools([tool]).tools == {
        "functions": ToolNamespaceConfig("functions", None, [tool])
    }


def test_tools_are_not_shared_between_contents() -> None:
    first = DeveloperContent().with_function_tools([ToolDescription("f", "d")])
    second = DeveloperContent(tools=first.tools).with_tools(ToolNamespaceConfig("x"))
    assert list(first.tools or {}) == ["functions"]
    assert list(second.tools or {}) == ["functions", "x"]


def test_plain_string_content_is_read() -> None:
    assert Message.from_dict({"role": "user", "content": "hi"}) == Message.from_role_and_content(
        Role.USER, "hi"
    )


def test_efforts_have_both_spellings() -> None:
    assert ReasoningEffort("low") is ReasoningEffort("Low") is ReasoningEffort.LOW
    with pytest.raises(ValueError, match="much"):
        ReasoningEffort("much")


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"content": "x"}, "needs 'role'"),
        ({"role": "user"}, "needs 'content'"),
        ({"role": "narrator", "content": "x"}, "unknown role 'narrator'"),
        ({"role": "user", "content": [{"type": "image"}]}, "content of type 'image'"),
        ({"role": "user", "content": [{"type": "text"}]}, "content of type 'text'"),
        (
            {"role": "system", "content": [{"type": "system_content", "reasoning_effort": "x"}]},
            "reasoning effort 'x'",
        ),
        (
            {
                "role": "developer",
                "content": [{"type": "developer_content", "tools": {"functions": {}}}],
            },
            "namespace needs a 'name'",
        ),
    ],
)
def test_malformed_json_is_refused(raw: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HarmonyError, match=complaint):
        Message.from_dict(raw)


@pytest.mark.parametrize("payload", ["{", "[]", "{}", '{"messages": 5}'])
def test_what_is_no_conversation_is_refused(payload: str) -> None:
    with pytest.raises(HarmonyError, match="not the JSON form of a conversation"):
        Conversation.from_json(payload)

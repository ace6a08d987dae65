"""What was rendered before is not encoded again, and never mistaken for something else."""

from __future__ import annotations

import copy
from threading import Thread
from typing import Any

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
    Renderer,
    RenderOptions,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
)
from ossia.harmony.token_cache import TokenCache, message_key
from ossia.tokenizer import Tokenizer
from support.harmony_strategies import any_schemas, conversations


class CountingTokenizer:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.texts: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return self._tokenizer.encode(text)


def test_a_growing_conversation_encodes_its_new_message_only(tokenizer: Tokenizer) -> None:
    counting = CountingTokenizer(tokenizer)
    renderer = Renderer(counting)
    tools = DeveloperContent("be kind").with_function_tools(
        [ToolDescription("f", "d", {"type": "object", "properties": {"a": {"type": "string"}}})]
    )
    messages = [
        Message.from_role_and_content(Role.SYSTEM, SystemContent()),
        Message.from_role_and_content(Role.DEVELOPER, tools),
        Message.from_role_and_content(Role.USER, "one"),
    ]
    renderer.render_conversation(Conversation(messages))
    counting.texts.clear()
    again = [*copy.deepcopy(messages), Message.from_role_and_content(Role.USER, "two")]
    ids = renderer.render_conversation(Conversation(again))
    assert counting.texts == ["user", "two"]
    assert ids == Renderer(tokenizer).render_conversation(Conversation(again))


@settings(max_examples=100)
@given(conversations(any_schemas()))
def test_rendering_again_gives_the_same(
    renderer: Renderer, tokenizer: Tokenizer, messages: list[Message]
) -> None:
    """`renderer` has seen every example before this one."""
    first = renderer.render_conversation_for_training(Conversation(messages))
    second = renderer.render_conversation_for_training(Conversation(messages))
    fresh = Renderer(tokenizer).render_conversation_for_training(Conversation(messages))
    assert first == second == fresh


def _text(text: str = "a", **fields: Any) -> Message:
    return Message(Author(Role.USER), [TextContent(text)], **fields)


def _tool(parameters: dict[str, Any]) -> Message:
    content = DeveloperContent().with_function_tools([ToolDescription("f", "d", parameters)])
    return Message.from_role_and_content(Role.DEVELOPER, content)


def _property(**schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema, "b": {}}}


DIFFERENT = [
    _text(),
    _text("b"),
    _text(channel="final"),
    _text(recipient="final"),
    _text(content_type="final"),
    Message(Author(Role.USER, "final"), [TextContent("a")]),
    Message(Author(Role.ASSISTANT), [TextContent("a")]),
    Message(Author(Role.USER), [TextContent("a"), TextContent("")]),
    Message(Author(Role.USER), []),
    Message.from_role_and_content(Role.SYSTEM, SystemContent()),
    Message.from_role_and_content(Role.SYSTEM, repr(SystemContent())),
    Message.from_role_and_content(Role.SYSTEM, SystemContent(reasoning_effort=ReasoningEffort.LOW)),
    Message.from_role_and_content(Role.SYSTEM, SystemContent(channel_config=ChannelConfig([], True))),
    _tool(_property(default=1)),
    _tool(_property(default=True)),
    _tool(_property(default=1.0)),
    _tool(_property(default="1")),
    _tool({"type": "object", "properties": {"b": {}, "a": {"default": 1}}}),
]  # fmt: skip


def test_messages_that_differ_have_keys_that_differ() -> None:
    keys = [message_key(message, RenderOptions()) for message in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)
    assert keys == [message_key(copy.deepcopy(each), RenderOptions()) for each in DIFFERENT]


def test_functions_elsewhere_change_a_system_message_alone() -> None:
    told = RenderOptions(conversation_has_function_tools=True)
    changed = [
        message_key(message, RenderOptions()) != message_key(message, told) for message in DIFFERENT
    ]
    has_system_content = [
        any(isinstance(part, SystemContent) for part in message.content) for message in DIFFERENT
    ]
    assert changed == has_system_content


def test_a_message_that_changed_is_rendered_anew(renderer: Renderer, tokenizer: Tokenizer) -> None:
    message = _text("before")
    renderer.render(message)
    message.content = [TextContent("after")]
    assert "after" in tokenizer.decode(renderer.render(message))


def test_what_is_handed_out_is_the_caller_s_own(renderer: Renderer) -> None:
    message = _text("mine")
    ids = renderer.render(message)
    expected = list(ids)
    ids.clear()
    assert renderer.render(message) == expected


def test_a_schema_too_deep_to_be_told_is_still_refused(renderer: Renderer) -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(HarmonyError, match="nested"):
        renderer.render(_tool(schema))


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = TokenCache(max_ids=10)
    cache.put("a", [1] * 4)
    cache.put("b", [2] * 4)
    assert cache.get("a") is not None
    cache.put("c", [3] * 4)
    assert cache.get("b") is None
    assert list(cache.get("a") or ()) == [1] * 4
    cache.put("c", [3] * 5)
    assert len(cache) == 9
    cache.put("too long", [0] * 11)
    assert cache.get("too long") is None
    assert len(cache) == 9


def test_threads_can_share_it() -> None:
    cache = TokenCache(max_ids=50)
    wrong: list[int] = []

    def work(own: int) -> None:
        for turn in range(2000):
            key = (own + turn) % 30
            found = cache.get(key)
            if found is not None and list(found) != [key] * 5:
                wrong.append(key)
            cache.put(key, [key] * 5)

    threads = [Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache) == 50

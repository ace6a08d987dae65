"""The renderer against the openai_harmony package, token for token."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.renderer import HOW, render
from ossia.harmony import (
    Author,
    Conversation,
    Message,
    RenderConversationConfig,
    Renderer,
    Role,
    TextContent,
    parse_messages,
)
from ossia.harmony.differences import ALL, Difference
from ossia.tokenizer import Tokenizer, special
from support.harmony_oracle import Oracle
from support.harmony_strategies import any_schemas, conversations, plain_lines, sensible_schemas

WAYS = st.sampled_from(HOW)


@settings(max_examples=100)
@given(conversations(any_schemas()), WAYS, st.booleans())
def test_with_every_difference_switched_back_it_is_the_library(
    oracle: Oracle, tokenizer: Tokenizer, messages: list[Message], how: str, drop: bool
) -> None:
    ours = render(Renderer(tokenizer, as_library=ALL), messages, how, drop=drop)
    theirs = oracle.render(messages, how, drop=drop)
    assert tokenizer.decode(ours) == oracle.text(theirs)
    assert ours == theirs


@settings(max_examples=100)
@given(conversations(sensible_schemas(), plain_lines), WAYS)
def test_outside_the_intended_differences_it_is_the_library(
    oracle: Oracle, tokenizer: Tokenizer, messages: list[Message], how: str
) -> None:
    back = frozenset({Difference.OLD_REASONING})
    ours = render(Renderer(tokenizer, as_library=back), messages, how, drop=True)
    theirs = oracle.render(messages, how, drop=True)
    assert tokenizer.decode(ours) == oracle.text(theirs)
    assert ours == theirs


def _say(channel: str, text: str, recipient: str | None = None) -> Message:
    return Message(Author(Role.ASSISTANT), [TextContent(text)], channel, recipient)


def _result(tool: str, channel: str, text: str) -> Message:
    return Message(Author(Role.TOOL, tool), [TextContent(text)], channel, "assistant")


def _ask(text: str) -> Message:
    return Message.from_role_and_content(Role.USER, text)


FIRST_TURN = [
    _ask("q1"),
    _say("analysis", "thought1"),
    _say("analysis", "search1", "browser.search"),
    _result("browser.search", "analysis", "found1"),
    _say("commentary", "preamble1"),
    _say("commentary", "call1", "functions.f"),
    _result("functions.f", "commentary", "result1"),
    _say("analysis", "mistaken1", "functions.f"),
    _result("functions.f", "analysis", "answer1"),
    _say("final", "final1"),
]
KEPT_OF_FIRST = ["q1", "preamble1", "call1", "result1", "mistaken1", "answer1", "final1"]
CHAIN = [_ask("q2"), _say("analysis", "thought2"), _say("commentary", "call2", "functions.f")]


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        (FIRST_TURN, KEPT_OF_FIRST),
        ([*FIRST_TURN, *CHAIN], [*KEPT_OF_FIRST, "q2", "thought2", "call2"]),
        (
            [*FIRST_TURN, *CHAIN, _say("final", "final2"), _ask("q3")],
            [*KEPT_OF_FIRST, "q2", "call2", "final2", "q3"],
        ),
        (CHAIN, ["q2", "thought2", "call2"]),
    ],
    ids=["finished turn", "running chain", "two finished turns", "no final yet"],
)
def test_reasoning_goes_with_the_turn_it_belongs_to(
    tokenizer: Tokenizer, messages: list[Message], kept: list[str]
) -> None:
    renderer = Renderer(tokenizer)
    ids = renderer.render_conversation_for_completion(Conversation(messages))
    assert tokenizer.decode(ids).endswith("<|start|>assistant")
    shown = parse_messages(tokenizer, ids[:-2])
    assert [message.text for message in shown] == kept

    everything = RenderConversationConfig(auto_drop_analysis=False)
    ids = renderer.render_conversation(Conversation(messages), everything)
    assert len(parse_messages(tokenizer, ids)) == len(messages)


def test_training_keeps_the_reasoning_of_the_last_turn(tokenizer: Tokenizer) -> None:
    turn = [_ask("q2"), _say("analysis", "thought2"), _say("final", "final2")]
    ids = Renderer(tokenizer).render_conversation_for_training(Conversation([*FIRST_TURN, *turn]))
    shown = [message.text for message in parse_messages(tokenizer, ids)]
    assert shown == [*KEPT_OF_FIRST, "q2", "thought2", "final2"]
    assert ids[-1] == special.RETURN
    assert ids.count(special.RETURN) == 1


def test_the_next_turn_can_be_another_s(tokenizer: Tokenizer) -> None:
    ids = Renderer(tokenizer).render_conversation_for_completion(Conversation(), Role.USER)
    assert tokenizer.decode(ids) == "<|start|>user"

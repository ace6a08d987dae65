"""The renderer against the openai_harmony package, token for token."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.harmony import Conversation, Message, RenderConversationConfig, Renderer
from ossia.harmony.differences import ALL, Difference
from ossia.tokenizer import Tokenizer
from support.harmony_oracle import Oracle
from support.harmony_strategies import any_schemas, conversations, plain_lines, sensible_schemas

HOW = st.sampled_from(["completion", "training", "conversation"])


def _render(renderer: Renderer, messages: list[Message], how: str, *, drop: bool) -> list[int]:
    conversation = Conversation.from_messages(messages)
    config = RenderConversationConfig(auto_drop_analysis=drop)
    if how == "completion":
        return renderer.render_conversation_for_completion(conversation, config=config)
    if how == "training":
        return renderer.render_conversation_for_training(conversation, config)
    return renderer.render_conversation(conversation, config)


@settings(max_examples=300)
@given(conversations(any_schemas()), HOW, st.booleans())
def test_with_every_difference_switched_back_it_is_the_library(
    oracle: Oracle, tokenizer: Tokenizer, messages: list[Message], how: str, drop: bool
) -> None:
    ours = _render(Renderer(tokenizer, as_library=ALL), messages, how, drop=drop)
    theirs = oracle.render(messages, how, drop=drop)
    assert tokenizer.decode(ours) == oracle.text(theirs)
    assert ours == theirs


@settings(max_examples=300)
@given(conversations(sensible_schemas(), plain_lines), HOW)
def test_outside_the_intended_differences_it_is_the_library(
    oracle: Oracle, tokenizer: Tokenizer, messages: list[Message], how: str
) -> None:
    back = frozenset({Difference.OLD_REASONING})
    ours = _render(Renderer(tokenizer, as_library=back), messages, how, drop=True)
    theirs = oracle.render(messages, how, drop=True)
    assert tokenizer.decode(ours) == oracle.text(theirs)
    assert ours == theirs

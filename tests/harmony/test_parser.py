"""The streaming parser: exact on well-formed output, total and lossless on any other."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.errors import HarmonyError
from ossia.harmony import (
    Conversation,
    Event,
    Message,
    MessageEnd,
    MessageStart,
    ReasoningDelta,
    RenderConversationConfig,
    Renderer,
    RepairKind,
    Role,
    StreamParser,
    TextContent,
    TextDelta,
    ToolCallDelta,
    parse_messages,
)
from ossia.tokenizer import Tokenizer, special
from support.harmony_accounting import follow
from support.harmony_oracle import Oracle
from support.harmony_recovery import DOCUMENT, Row, rows, shown, shown_repair
from support.harmony_strategies import any_schemas, conversations

KEEP_ALL = RenderConversationConfig(auto_drop_analysis=False)


def _feed(parser: StreamParser, tokens: list[int]) -> list[Event]:
    return [event for token in tokens for event in parser.push(token)] + list(parser.finish())


def _plain(messages: list[Message]) -> list[Message]:
    """Those messages whose rendering says all that they hold."""
    return [
        dataclasses.replace(message, content=[TextContent(message.text)])
        for message in messages
        if all(isinstance(part, TextContent) for part in message.content)
    ]


@settings(max_examples=150)
@given(conversations(any_schemas()))
def test_what_was_rendered_is_parsed_back(
    tokenizer: Tokenizer, renderer: Renderer, messages: list[Message]
) -> None:
    messages = _plain(messages)
    tokens = renderer.render_conversation(Conversation(messages), KEEP_ALL)
    parsed = parse_messages(tokenizer, tokens, strict=True)
    assert parsed == messages
    assert renderer.render_conversation(Conversation(parsed), KEEP_ALL) == tokens


@settings(max_examples=100)
@given(conversations(any_schemas()))
def test_well_formed_output_is_read_as_the_library_reads_it(
    tokenizer: Tokenizer, renderer: Renderer, oracle: Oracle, messages: list[Message]
) -> None:
    # The library reads neither a user's name nor a content type without a recipient.
    readable = [
        message
        for message in _plain(messages)
        if not (message.author.role is Role.USER and message.author.name)
        and not (message.recipient is None and message.content_type is not None)
    ]
    tokens = renderer.render_conversation(Conversation(readable), KEEP_ALL)
    ours = [message.to_dict() for message in parse_messages(tokenizer, tokens)]
    assert ours == oracle.parse(tokens)


_TOKENS = st.one_of(
    st.integers(0, special.FIRST_SPECIAL - 1),
    st.sampled_from([special.START, special.CHANNEL, special.MESSAGE, special.CONSTRAIN]),
    st.sampled_from([special.END, special.RETURN, special.CALL]),
    st.sampled_from([173781, 35644, 17196, 12606, 815, 316, 28, 44580, 220]),  # header words
    st.integers(-3, special.VOCAB_SIZE + 3),
    st.sampled_from([2**32 - 1, 2**63]),
)


@settings(max_examples=400)
@given(st.lists(_TOKENS, max_size=60), st.sampled_from([None, *Role]))
def test_no_token_sequence_raises_and_nothing_is_lost(
    tokenizer: Tokenizer, tokens: list[int], role: Role | None
) -> None:
    follow(tokenizer, tokens, role)


@settings(max_examples=100)
@given(st.binary(max_size=30))
def test_bytes_that_are_no_text_are_replaced_as_in_the_whole(
    tokenizer: Tokenizer, data: bytes
) -> None:
    byte_ids = {tokenizer.token_bytes(token): token for token in range(256)}
    parser = StreamParser(tokenizer)
    opening = tokenizer.encode_with_special("<|channel|>final<|message|>")
    _feed(parser, [*opening, *(byte_ids[bytes([byte])] for byte in data), special.END])
    assert parser.messages[0].text == data.decode("utf-8", "replace")


def test_a_character_split_over_tokens_waits(tokenizer: Tokenizer) -> None:
    parser = StreamParser(tokenizer)
    opening = tokenizer.encode_with_special("<|channel|>final<|message|>")
    ids = tokenizer.encode("🫠")
    assert len(ids) > 1
    for token in [*opening, *ids[:-1]]:
        assert not any(isinstance(event, TextDelta) for event in parser.push(token))
    assert list(parser.push(ids[-1])) == [TextDelta("🫠")]


def test_half_a_character_does_not_leak_into_the_next_message(tokenizer: Tokenizer) -> None:
    half = tokenizer.encode("🫠")[:-1]
    opening = tokenizer.encode_with_special("<|channel|>final<|message|>")
    start = tokenizer.encode_with_special("<|start|>assistant")
    tokens = [*opening, *half, special.END, *start, *opening, *tokenizer.encode("ok"), special.END]
    assert [message.text for message in parse_messages(tokenizer, tokens, Role.ASSISTANT)] == [
        "�",
        "ok",
    ]


def test_events_of_a_turn(tokenizer: Tokenizer) -> None:
    text = (
        "<|channel|>analysis<|message|>Hm<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>Wait<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
    )
    parser = StreamParser(tokenizer)
    events = _feed(parser, tokenizer.encode_with_special(text))
    kinds = [type(event) for event in events]
    assert kinds == [
        *(MessageStart, ReasoningDelta, MessageEnd),
        *(MessageStart, TextDelta, MessageEnd),
        *(MessageStart, ToolCallDelta, MessageEnd),
    ]
    assert parser.repairs == []
    call = parser.messages[-1]
    assert (call.channel, call.recipient, call.content_type, call.text) == (
        "commentary",
        "functions.f",
        "<|constrain|>json",
        "{}",
    )
    assert [event.stop_token for event in events if isinstance(event, MessageEnd)] == [
        special.END,
        special.END,
        special.CALL,
    ]


FINAL = "<|channel|>final<|message|>"

TABLE = rows()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.title)
def test_what_becomes_of_malformed_output(tokenizer: Tokenizer, row: Row) -> None:
    tokens = row.tokens(tokenizer)
    parser = StreamParser(tokenizer)
    _feed(parser, tokens)
    assert [shown(message) for message in parser.messages] == row.messages
    assert [shown_repair(repair) for repair in parser.repairs] == row.repairs
    follow(tokenizer, tokens, Role.ASSISTANT)
    if row.repairs:
        with pytest.raises(HarmonyError, match="at token"):
            parse_messages(tokenizer, tokens, Role.ASSISTANT, strict=True)
    else:
        assert parse_messages(tokenizer, tokens, Role.ASSISTANT, strict=True) == parser.messages


def test_the_table_has_a_row_for_every_kind_of_repair() -> None:
    kinds = {repair.partition(":")[0] for row in TABLE for repair in row.repairs}
    assert kinds == {kind.value for kind in RepairKind}
    assert len(TABLE) == DOCUMENT.read_text(encoding="utf-8").count("\n### ")


def test_repairs_travel_with_the_message_they_concern(tokenizer: Tokenizer) -> None:
    written = next(row.written for row in TABLE if row.title == "Doubled channel")
    messages = parse_messages(
        tokenizer,
        tokenizer.encode_with_special(f"{FINAL}a<|end|><|start|>assistant{written}"),
        Role.ASSISTANT,
    )
    assert [[repair.kind for repair in message.repairs] for message in messages] == [
        [],
        [RepairKind.DOUBLED_CHANNEL],
    ]

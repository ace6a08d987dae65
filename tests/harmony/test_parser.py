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
    ParserState,
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
from support.harmony_oracle import Oracle
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
    parser = StreamParser(tokenizer, role)
    events: list[Event] = []
    header: list[int] = []  # since the last start, and not yet part of a message
    content: list[int] = []
    for token in [*tokens, None]:
        in_content = parser.state is ParserState.CONTENT
        new = parser.push(token) if token is not None else parser.finish()
        events += new
        if any(isinstance(event, MessageStart) for event in new):
            header = []
        elif token in (None, special.START, *special.STOP_TOKENS) and header:
            assert parser.repairs[-1].text == tokenizer.decode(header)
            header = []
        if token is None or token in special.STOP_TOKENS | {special.START, special.CHANNEL}:
            if in_content:
                assert parser.messages[-1].text == tokenizer.decode(content)
            content = []
        if token is not None and 0 <= token < special.FIRST_SPECIAL:
            (content if in_content else header).append(token)
        elif token in (special.CHANNEL, special.CONSTRAIN) and parser.state is ParserState.HEADER:
            header.append(token)
    _check_order(events)
    assert [event.message for event in events if isinstance(event, MessageEnd)] == parser.messages


def _check_order(events: list[Event]) -> None:
    """Each message is a start, its deltas, an end; the deltas are its text."""
    texts: list[str] | None = None
    for event in events:
        if isinstance(event, MessageStart):
            assert texts is None
            texts = []
        elif isinstance(event, MessageEnd):
            assert texts is not None
            assert "".join(texts) == event.message.text
            texts = None
        else:
            assert texts is not None
            assert event.text
            texts.append(event.text)
    assert texts is None


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

# After "<|start|>assistant": what was written; then role, channel, recipient, type and text of
# each message; then what was mended. Nothing mended means that strict parsing takes it too.
ROWS = {
    "stray word after a call": (
        f"<|channel|>final<|message|>a<|end|>commentary<|start|>assistant{FINAL}b<|end|>",
        [("assistant", "final", None, None, "a"), ("assistant", "final", None, None, "b")],
        [RepairKind.STRAY_TOKENS],
    ),
    "second stop token": (
        f"{FINAL}a<|call|><|return|>",
        [("assistant", "final", None, None, "a")],
        [RepairKind.STRAY_TOKENS],
    ),
    "forgotten start": (
        f"{FINAL}a<|end|>assistant{FINAL}b<|end|>",
        [("assistant", "final", None, None, "a"), ("assistant", "final", None, None, "b")],
        [RepairKind.MISSING_START],
    ),
    "constrained final answer": (
        "<|channel|>final <|constrain|>json<|message|>{}<|return|>",
        [("assistant", "final", None, "<|constrain|>json", "{}")],
        [],
    ),
    "bare type without recipient": (
        "<|channel|>commentary json<|message|>{}<|end|>",
        [("assistant", "commentary", None, "json", "{}")],
        [],
    ),
    "code on the analysis channel": (
        "<|channel|>analysis code<|message|>1<|end|>",
        [("assistant", "analysis", None, "code", "1")],
        [],
    ),
    "space after constrain": (
        "<|channel|>commentary to=functions.f <|constrain|> json<|message|>{}<|call|>",
        [("assistant", "commentary", "functions.f", "<|constrain|>json", "{}")],
        [],
    ),
    "recipient before the channel": (
        " to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
        [("assistant", "commentary", "functions.f", "<|constrain|>json", "{}")],
        [],
    ),
    "extra words": (
        "<|channel|>commentary to=functions.f json extra words<|message|>{}<|call|>",
        [("assistant", "commentary", "functions.f", "json", "{}")],
        [RepairKind.LEFTOVER_WORDS],
    ),
    "channel token missing": (
        "analysis<|message|>a<|end|>",
        [("assistant", "analysis", None, None, "a")],
        [RepairKind.MISSING_CHANNEL],
    ),
    "channel missing": (
        "<|message|>a<|end|>",
        [("assistant", "final", None, None, "a")],
        [RepairKind.MISSING_CHANNEL],
    ),
    "channel of a function call missing": (
        " to=functions.f<|message|>{}<|call|>",
        [("assistant", "commentary", "functions.f", None, "{}")],
        [RepairKind.MISSING_CHANNEL],
    ),
    "channel of a built-in call missing": (
        " to=browser.search<|message|>{}<|call|>",
        [("assistant", "analysis", "browser.search", None, "{}")],
        [RepairKind.MISSING_CHANNEL],
    ),
    "doubled channel": (
        "<|channel|>analysis<|channel|>final<|message|>a<|end|>",
        [("assistant", "final", None, None, "a")],
        [RepairKind.DOUBLED_CHANNEL],
    ),
    "channel repeated behind the recipient": (
        "<|channel|>commentary to=functions.f<|channel|>commentary json<|message|>{}<|call|>",
        [("assistant", "commentary", "functions.f", "json", "{}")],
        [RepairKind.DOUBLED_CHANNEL],
    ),
    "empty channel": (
        "<|channel|><|message|>a<|end|>",
        [("assistant", "final", None, None, "a")],
        [RepairKind.EMPTY_CHANNEL, RepairKind.MISSING_CHANNEL],
    ),
    "call on the analysis channel": (
        "<|channel|>analysis to=functions.f<|message|>{}<|call|>",
        [("assistant", "analysis", "functions.f", None, "{}")],
        [],
    ),
    "channel inside content": (
        f"<|channel|>analysis<|message|>a{FINAL}b<|end|>",
        [("assistant", "analysis", None, None, "a"), ("assistant", "final", None, None, "b")],
        [RepairKind.MISSING_END],
    ),
    "start inside content": (
        f"<|channel|>analysis<|message|>a<|start|>assistant{FINAL}b<|end|>",
        [("assistant", "analysis", None, None, "a"), ("assistant", "final", None, None, "b")],
        [RepairKind.MISSING_END],
    ),
    "control token inside content": (
        f"{FINAL}a<|constrain|>b<|message|>c<|reserved_200013|><|end|>",
        [("assistant", "final", None, None, "abc")],
        [RepairKind.MISPLACED_TOKEN] * 3,
    ),
    "message token missing": (
        "<|channel|>final Hello  there\n<|return|>",
        [("assistant", "final", None, None, "Hello  there\n")],
        [RepairKind.MISSING_MESSAGE],
    ),
    "message token of a call missing": (
        '<|channel|>commentary to=functions.f <|constrain|>json{"a": 1}<|call|>',
        [("assistant", "commentary", "functions.f", "<|constrain|>json", '{"a": 1}')],
        [RepairKind.MISSING_MESSAGE],
    ),
    "nothing but text": (
        f"I must refuse.<|end|><|start|>assistant{FINAL}No.<|end|>",
        [
            ("assistant", "final", None, None, "I must refuse."),
            ("assistant", "final", None, None, "No."),
        ],
        [RepairKind.MISSING_MESSAGE, RepairKind.MISSING_CHANNEL],
    ),
    "nothing but a role and text": (
        f"{FINAL}a<|end|><|start|>assistant to=functions.f {{}}<|call|>",
        [
            ("assistant", "final", None, None, "a"),
            ("assistant", "commentary", "functions.f", None, "{}"),
        ],
        [RepairKind.MISSING_MESSAGE, RepairKind.MISSING_CHANNEL],
    ),
    "text that names no role": (
        f"{FINAL}a<|end|><|start|>something else<|end|>",
        [("assistant", "final", None, None, "a")],
        [RepairKind.UNFINISHED_HEADER],
    ),
    "nothing but a stop": ("<|return|>", [], [RepairKind.UNFINISHED_HEADER]),
    "nothing": ("", [], [RepairKind.UNFINISHED_HEADER]),
    "end of output in a header": (
        "<|channel|>final",
        [("assistant", "final", None, None, "")],
        [RepairKind.UNFINISHED_HEADER],
    ),
    "end of output in content": (
        f"{FINAL}a",
        [("assistant", "final", None, None, "a")],
        [],
    ),
    "header begun twice": (
        f"<|channel|>final<|start|>assistant{FINAL}a<|end|>",
        [("assistant", "final", None, None, "a")],
        [RepairKind.UNFINISHED_HEADER],
    ),
    "tool's message without recipient": (
        f"{FINAL}a<|end|><|start|>functions.f<|channel|>commentary<|message|>b<|end|>",
        [("assistant", "final", None, None, "a"), ("tool", "commentary", None, None, "b")],
        [],
    ),
    "unknown role": (
        f"{FINAL}a<|end|><|start|>narrator{FINAL}b<|end|>",
        [("assistant", "final", None, None, "a"), ("assistant", "final", None, None, "b")],
        [RepairKind.UNKNOWN_ROLE],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_becomes_of_malformed_output(tokenizer: Tokenizer, row: str) -> None:
    written, expected, repairs = ROWS[row]
    tokens = tokenizer.encode_with_special(written)
    parser = StreamParser(tokenizer)
    _feed(parser, tokens)
    found = [
        (
            message.author.role,
            message.channel,
            message.recipient,
            message.content_type,
            message.text,
        )
        for message in parser.messages
    ]
    assert found == expected
    assert [repair.kind for repair in parser.repairs] == repairs
    if repairs:
        with pytest.raises(HarmonyError, match="at token"):
            parse_messages(tokenizer, tokens, Role.ASSISTANT, strict=True)
    else:
        assert parse_messages(tokenizer, tokens, Role.ASSISTANT, strict=True) == parser.messages


def test_repairs_travel_with_the_message_they_concern(tokenizer: Tokenizer) -> None:
    written, _, _ = ROWS["doubled channel"]
    messages = parse_messages(
        tokenizer,
        tokenizer.encode_with_special(f"{FINAL}a<|end|><|start|>assistant{written}"),
        Role.ASSISTANT,
    )
    assert [[repair.kind for repair in message.repairs] for message in messages] == [
        [],
        [RepairKind.DOUBLED_CHANNEL],
    ]

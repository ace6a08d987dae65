"""StreamParser: the model's tokens to messages, as they come.

Three states, seven kinds of token; `_TRANSITIONS` says what each pair does. Well-formed output
goes EXPECT_START -> HEADER -> CONTENT -> EXPECT_START. Whatever departs from that passes through
`_mend`, which raises in strict parsing and else records a `Repair`: nothing the model wrote is
lost, it is either in a message or in a repair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from operator import index
from typing import Final

from ossia.errors import HarmonyError
from ossia.harmony.contents import TextContent
from ossia.harmony.events import (
    Event,
    MessageEnd,
    MessageStart,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from ossia.harmony.header import Header, Segment, is_header_text, parse_header, split_content
from ossia.harmony.messages import Channel, Message, Role
from ossia.harmony.repairs import Repair, RepairKind
from ossia.tokenizer import IncrementalDetokenizer, Tokenizer, special


class ParserState(Enum):
    """Where in a message the parser is."""

    EXPECT_START = auto()
    HEADER = auto()
    CONTENT = auto()


class _Kind(Enum):
    """What a token can be to the parser."""

    TEXT = auto()
    START = auto()
    CHANNEL = auto()
    CONSTRAIN = auto()
    MESSAGE = auto()
    STOP = auto()
    OTHER = auto()  # special tokens that mean nothing here, and ids outside the vocabulary


_KIND_OF_SPECIAL: Final = {
    special.START: _Kind.START,
    special.CHANNEL: _Kind.CHANNEL,
    special.CONSTRAIN: _Kind.CONSTRAIN,
    special.MESSAGE: _Kind.MESSAGE,
    **dict.fromkeys(special.STOP_TOKENS, _Kind.STOP),
}

_NOTHING: Final[Sequence[Event]] = ()

# In the words of the `openai_harmony` package, where it complains of the same thing.
_COMPLAINTS: Final = {
    RepairKind.STRAY_TOKENS: "unexpected token while expecting start token",
    RepairKind.MISSING_START: "unexpected token while expecting start token",
    RepairKind.MISSING_MESSAGE: "unexpected tokens remaining in message header",
    RepairKind.UNFINISHED_HEADER: "unexpected EOS while waiting for message header to complete",
    RepairKind.MISSING_END: "a header begins inside content",
    RepairKind.MISPLACED_TOKEN: "it means nothing there",
    RepairKind.UNKNOWN_ROLE: "unknown role",
    RepairKind.MISSING_CHANNEL: "every message of an assistant needs a channel",
    RepairKind.DOUBLED_CHANNEL: "one channel too many in the message header",
    RepairKind.EMPTY_CHANNEL: "channel marker present but no channel value",
    RepairKind.LEFTOVER_WORDS: "unexpected tokens remaining in message header",
}


class StreamParser:
    """Reads model output one token at a time, with constant work for each.

    Args:
        tokenizer: Gives tokens their text.
        role: Whose header the output begins in, where the prompt ended in `<|start|>role`; None
            if the output begins with `<|start|>` itself.
        strict: Raise on the first departure from the format instead of mending it.
        channel_required: Every message of an assistant has a channel, as gpt-oss is told; one
            that is missing is inferred. Else a message without a channel stays so.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        role: Role | None = Role.ASSISTANT,
        *,
        strict: bool = False,
        channel_required: bool = True,
    ) -> None:
        self.messages: list[Message] = []
        self.repairs: list[Repair] = []
        self._tokenizer = tokenizer
        self._strict = strict
        self._channel_required = channel_required
        self._position = -1
        self._detokenizer = IncrementalDetokenizer(tokenizer)
        self._state = ParserState.EXPECT_START if role is None else ParserState.HEADER
        # HEADER
        self._role = role
        self._has_start = True
        self._header_tokens: list[int] = []
        # CONTENT
        self._header: Header | None = None
        self._make_delta: type[ReasoningDelta | TextDelta | ToolCallDelta] = TextDelta
        self._texts: list[str] = []
        self._message_repairs: list[Repair] = []

    @property
    def state(self) -> ParserState:
        """Where in a message the parser is."""
        return self._state

    @property
    def header(self) -> Header | None:
        """The header of the message whose content is being read; else None."""
        return self._header

    @property
    def role(self) -> Role | None:
        """Whose message is being read, as soon as that is known."""
        if self._state is ParserState.HEADER:
            return self._role
        return None if self._header is None else self._header.author.role

    @property
    def header_tokens(self) -> Sequence[int]:
        """The tokens of the header that is being read."""
        return tuple(self._header_tokens)

    @property
    def text(self) -> str:
        """The text so far of the message whose content is being read."""
        self._texts = ["".join(self._texts)]
        return self._texts[0]

    def push(self, token: int) -> Sequence[Event]:
        """Take the next token.

        Returns:
            What it brings about; often one delta, none while a header or a character is unfinished.

        Raises:
            HarmonyError: in strict parsing, the token breaks the format.
        """
        self._position += 1
        if self._header is not None and 0 <= token < special.FIRST_SPECIAL:
            return self._extend_content(token)  # nearly every token, so without a detour
        return _TRANSITIONS[self._state, _kind(token)](self, token)

    def finish(self) -> Sequence[Event]:
        """The output has ended; afterwards the parser expects a new message.

        Raises:
            HarmonyError: in strict parsing, the output ended inside a header.
        """
        if self._state is ParserState.CONTENT:
            return self._end_message(None)
        if self._state is ParserState.EXPECT_START:
            return _NOTHING
        return self._finish_header()

    # EXPECT_START

    def _start_header(self, token: int) -> Sequence[Event]:
        assert token == special.START
        return self._enter_header(None)

    def _missing_start(self, token: int) -> Sequence[Event]:
        """Something other than a start: the next header, or junk; what follows will tell."""
        self._enter_header(None, has_start=False)
        return _TRANSITIONS[ParserState.HEADER, _kind(token)](self, token)

    def _stray_stop(self, token: int) -> Sequence[Event]:
        self._mend(RepairKind.STRAY_TOKENS, self._name(token))
        return _NOTHING

    # HEADER

    def _extend_header(self, token: int) -> Sequence[Event]:
        self._header_tokens.append(token)
        return _NOTHING

    def _restart_header(self, token: int) -> Sequence[Event]:
        """A header begins inside a header: a message without `<|message|>` and end, or nothing."""
        assert token == special.START
        _, text = split_content(self._segments(), self._role)
        events = self._end_in_header(None) if text.strip() else _NOTHING
        if not events:
            self._discard_header()
        self._enter_header(None)
        return events

    def _open_message(self, token: int) -> Sequence[Event]:
        assert token == special.MESSAGE
        segments = self._segments()
        if not self._has_start:
            self._mend(RepairKind.MISSING_START, "".join(each.text for each in segments))
        return [self._enter_content(self._read_header(segments))]

    def _stop_in_header(self, token: int) -> Sequence[Event]:
        events = self._end_in_header(token)
        if not events:
            self._discard_header()
            self._state = ParserState.EXPECT_START
        return events

    def _end_in_header(self, token: int | None) -> Sequence[Event]:
        """A message without `<|message|>`; nothing if nothing says that it is one."""
        header, text = split_content(self._segments(), self._role)
        is_message = header or (self._role is not None and text.strip())
        if not is_message or not self._has_start:
            return _NOTHING
        self._mend(RepairKind.MISSING_MESSAGE, text)
        events: list[Event] = [self._enter_content(self._read_header(header))]
        if text:
            self._texts.append(text)
            events.append(self._make_delta(text))
        return [*events, *self._end_message(token)]

    def _finish_header(self) -> Sequence[Event]:
        segments = self._segments()
        _, text = split_content(segments, self._role)
        if text.strip() and not is_header_text(text):
            events = self._end_in_header(None)
            if events:
                return events
        if not segments or not self._has_start:
            self._discard_header()
            self._state = ParserState.EXPECT_START
            return _NOTHING
        self._mend(RepairKind.UNFINISHED_HEADER, self._header_text())
        opened = self._enter_content(self._read_header(segments))
        return [opened, *self._end_message(None)]

    # CONTENT

    def _extend_content(self, token: int) -> Sequence[Event]:
        text = self._detokenizer.push(token)
        if not text:
            return _NOTHING
        self._texts.append(text)
        return [self._make_delta(text)]

    def _end_message(self, token: int | None) -> Sequence[Event]:
        assert self._header is not None, "only called in CONTENT"
        events: list[Event] = []
        if rest := self._detokenizer.flush():
            self._texts.append(rest)
            events.append(self._make_delta(rest))
        message = Message(
            self._header.author,
            [TextContent("".join(self._texts))],
            channel=self._header.channel,
            recipient=self._header.recipient,
            content_type=self._header.content_type,
            repairs=self._message_repairs,
        )
        self.messages.append(message)
        self._header, self._texts, self._message_repairs = None, [], []
        self._state = ParserState.EXPECT_START
        return [*events, MessageEnd(message, token)]

    def _missing_end(self, token: int) -> Sequence[Event]:
        """A header begins inside content: the end of the message was forgotten."""
        assert self._header is not None, "only called in CONTENT"
        self._mend(RepairKind.MISSING_END, self._name(token))
        role = self._header.author.role
        events = self._end_message(None)
        if token == special.START:
            return [*events, *self._enter_header(None)]
        return [*events, *self._enter_header(role), *self._extend_header(token)]

    # any state

    def _drop(self, token: int) -> Sequence[Event]:
        self._mend(RepairKind.MISPLACED_TOKEN, self._name(token))
        return _NOTHING

    def _enter_header(self, role: Role | None, *, has_start: bool = True) -> Sequence[Event]:
        self._state = ParserState.HEADER
        self._role, self._has_start, self._header_tokens = role, has_start, []
        return _NOTHING

    def _read_header(self, segments: list[Segment]) -> Header:
        return parse_header(
            segments, self._role, self._mend, channel_required=self._channel_required
        )

    def _enter_content(self, header: Header) -> MessageStart:
        self._state = ParserState.CONTENT
        self._header = header
        self._role, self._header_tokens = None, []
        if header.calls_tool:
            self._make_delta = ToolCallDelta
        else:
            thinks = header.channel == Channel.ANALYSIS
            self._make_delta = ReasoningDelta if thinks else TextDelta
        return MessageStart(header)

    def _discard_header(self) -> None:
        """Record a header that came to nothing."""
        stray = not self._has_start
        kind = RepairKind.STRAY_TOKENS if stray else RepairKind.UNFINISHED_HEADER
        self._mend(kind, self._header_text())

    def _header_text(self) -> str:
        return self._tokenizer.decode(self._header_tokens)

    def _segments(self) -> list[Segment]:
        """The header cut at its special tokens."""
        segments: list[Segment] = []
        marker, tokens = None, list[int]()
        for token in self._header_tokens:
            if special.is_special(token):
                segments.append(Segment(marker, self._tokenizer.decode(tokens)))
                marker, tokens = token, []
            else:
                tokens.append(token)
        segments.append(Segment(marker, self._tokenizer.decode(tokens)))
        return [each for each in segments if each.marker is not None or each.text]

    def _mend(self, kind: RepairKind, text: str) -> None:
        position = max(self._position, 0)
        if self._strict:
            self._state = ParserState.EXPECT_START
            self._header, self._role, self._texts = None, None, []
            raise HarmonyError(f"{kind} at token {position} ({_COMPLAINTS[kind]}): {text!r}")
        repair = Repair(kind, text, position)
        self.repairs.append(repair)
        self._message_repairs.append(repair)

    def _name(self, token: int) -> str:
        known = 0 <= token < special.VOCAB_SIZE
        return self._tokenizer.decode([token]) if known else f"token {token}"


def parse_messages(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    role: Role | None = None,
    *,
    strict: bool = False,
    channel_required: bool = True,
) -> list[Message]:
    """All messages of a whole output or history, which begins with `<|start|>` if `role` is None.

    Arguments and errors are those of `StreamParser`.
    """
    parser = StreamParser(tokenizer, role, strict=strict, channel_required=channel_required)
    for token in map(index, tokens):  # elements of a tensor or array are no ints
        parser.push(token)
    parser.finish()
    return parser.messages


def _kind(token: int) -> _Kind:
    if 0 <= token < special.FIRST_SPECIAL:
        return _Kind.TEXT
    return _KIND_OF_SPECIAL.get(token, _Kind.OTHER)


_Handler = Callable[[StreamParser, int], Sequence[Event]]

# pyright: reportPrivateUsage=false
_TRANSITIONS: Final[Mapping[tuple[ParserState, _Kind], _Handler]] = {
    (ParserState.EXPECT_START, _Kind.TEXT): StreamParser._missing_start,
    (ParserState.EXPECT_START, _Kind.START): StreamParser._start_header,
    (ParserState.EXPECT_START, _Kind.CHANNEL): StreamParser._missing_start,
    (ParserState.EXPECT_START, _Kind.CONSTRAIN): StreamParser._missing_start,
    (ParserState.EXPECT_START, _Kind.MESSAGE): StreamParser._missing_start,
    (ParserState.EXPECT_START, _Kind.STOP): StreamParser._stray_stop,
    (ParserState.EXPECT_START, _Kind.OTHER): StreamParser._drop,
    (ParserState.HEADER, _Kind.TEXT): StreamParser._extend_header,
    (ParserState.HEADER, _Kind.START): StreamParser._restart_header,
    (ParserState.HEADER, _Kind.CHANNEL): StreamParser._extend_header,
    (ParserState.HEADER, _Kind.CONSTRAIN): StreamParser._extend_header,
    (ParserState.HEADER, _Kind.MESSAGE): StreamParser._open_message,
    (ParserState.HEADER, _Kind.STOP): StreamParser._stop_in_header,
    (ParserState.HEADER, _Kind.OTHER): StreamParser._drop,
    (ParserState.CONTENT, _Kind.TEXT): StreamParser._extend_content,
    (ParserState.CONTENT, _Kind.START): StreamParser._missing_end,
    (ParserState.CONTENT, _Kind.CHANNEL): StreamParser._missing_end,
    (ParserState.CONTENT, _Kind.CONSTRAIN): StreamParser._drop,
    (ParserState.CONTENT, _Kind.MESSAGE): StreamParser._drop,
    (ParserState.CONTENT, _Kind.STOP): StreamParser._end_message,
    (ParserState.CONTENT, _Kind.OTHER): StreamParser._drop,
}

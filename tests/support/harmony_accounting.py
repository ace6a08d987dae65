"""What must hold of the parser whatever it reads: nothing raised, nothing lost, deltas add up."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ossia.harmony import (
    Event,
    Header,
    MessageEnd,
    MessageStart,
    ParserState,
    Role,
    StreamParser,
)
from ossia.tokenizer import Tokenizer, special

_PIECE = re.compile(r"\w+|\W")
_MARKERS = {special.START, special.CHANNEL, special.CONSTRAIN, special.MESSAGE}
_CONTROL = special.STOP_TOKENS | {special.START, special.CHANNEL}


@dataclass
class Account:
    """Everything that one stream gave."""

    parser: StreamParser
    events: list[Event] = field(default_factory=list)
    headers: int = 0
    contents: int = 0


def follow(tokenizer: Tokenizer, tokens: list[int], role: Role | None) -> Account:
    """Parse a stream to its end, and check after each token that all it holds is accounted for."""
    account = Account(StreamParser(tokenizer, role))
    parser = account.parser
    header: list[int] = []  # since the last start, and not yet part of a message
    content: list[int] = []
    known_repairs = 0
    for token in [*tokens, None]:
        in_content = parser.state is ParserState.CONTENT
        new = parser.push(token) if token is not None else parser.finish()
        account.events += new
        started = [event for event in new if isinstance(event, MessageStart)]
        if in_content and (token is None or token in _CONTROL):
            assert parser.messages[-1].text == tokenizer.decode(content)
            account.contents += 1
            content = []
        if started or (
            not in_content and token in (None, special.START, special.MESSAGE, *special.STOP_TOKENS)
        ):
            kept = "\n".join(repair.text for repair in parser.repairs[known_repairs:])
            kept += "\n" + "\n".join(_shown(event.header) for event in started)
            kept += "\n" + "\n".join(e.message.text for e in new if isinstance(e, MessageEnd))
            _check_kept(tokenizer, header, kept)
            account.headers += 1
            known_repairs = len(parser.repairs)
            header = []
        if token in _MARKERS:
            header.append(special.START)  # parts words, whichever it was
        elif token is not None and 0 <= token < special.FIRST_SPECIAL:
            (content if in_content else header).append(token)
    check_order(account.events)
    ended = [event.message for event in account.events if isinstance(event, MessageEnd)]
    assert ended == parser.messages
    return account


def check_order(events: list[Event]) -> None:
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


def _shown(header: Header) -> str:
    name = f"{header.author.role}:{header.author.name or ''}"
    return f"{header.author.name} {name} {header.recipient} {header.channel} {header.content_type}"


def _check_kept(tokenizer: Tokenizer, header: list[int], kept: str) -> None:
    """Every word of a header is in a field, a repair, or the text of a message without one."""
    for text in tokenizer.decode(header).split(special.SPECIAL_TOKENS[special.START]):
        for word in text.split():
            for piece in _PIECE.findall(word.removeprefix("to=")):
                assert piece in kept, (word, kept)

"""Ways to show tokens and the messages that they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ossia.cli.output import Output
from ossia.harmony import Channel, Message, Repair
from ossia.tokenizer import special

if TYPE_CHECKING:
    from ossia.tokenizer import Tokenizer


def show_tokens(output: Output, tokenizer: Tokenizer, ids: Sequence[int]) -> None:
    """Print tokens as text, the special ones marked."""
    for is_special, run in groupby(ids, special.is_special):
        output.text(tokenizer.decode(run), marked=is_special)


def show_messages(output: Output, messages: Sequence[Message], repairs: Sequence[Repair]) -> None:
    """Print messages, each under a line that says what it is, with what was mended to read it."""
    for position, message in enumerate(messages):
        if position:
            output.line()
        output.heading(_heading(message))
        for repair in message.repairs:
            output.text(f"{_in_words(repair)}\n", marked=True)
        output.text(message.text, dim=message.channel == Channel.ANALYSIS)
        output.line()
    outside = _outside(messages, repairs)
    if messages and outside:
        output.line()
    for repair in outside:
        output.text(f"{_in_words(repair)}\n", marked=True)


def messages_as_json(messages: Sequence[Message], repairs: Sequence[Repair]) -> dict[str, Any]:
    """A conversation that `ossia render` reads, with all repairs and how many there are of each."""
    return {
        "messages": [message.to_dict() for message in messages],
        "repairs": [
            {"kind": repair.kind.value, "text": repair.text, "position": repair.position}
            for repair in repairs
        ],
        "repair_counts": dict(Counter(repair.kind.value for repair in repairs)),
    }


def _heading(message: Message) -> str:
    author = message.author
    who = author.role.value if author.name is None else f"{author.role.value} {author.name}"
    parts = {"on": message.channel, "to": message.recipient, "as": message.content_type}
    return " ".join([who, *(f"{word} {part}" for word, part in parts.items() if part is not None)])


def _in_words(repair: Repair) -> str:
    return f"repaired at token {repair.position}: {repair.kind.value}: {repair.text!r}"


def _outside(messages: Sequence[Message], repairs: Sequence[Repair]) -> list[Repair]:
    """Repairs that led to no message."""
    inside = {id(repair) for message in messages for repair in message.repairs}
    return [repair for repair in repairs if id(repair) not in inside]

"""What a message's header says: from whom, to whom, on which channel, of what type.

A header as the model writes it, between `<|start|>` and `<|message|>`:

    role[:name] [to=recipient] [<|channel|>channel [to=recipient]] [[<|constrain|>]content type]

The order of the parts after the role varies in what models write, and is not insisted on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ossia.harmony.messages import Author, Channel, Role
from ossia.harmony.repairs import RepairKind
from ossia.tokenizer import special

BUILTIN_TOOLS: Final = frozenset({"browser", "python"})
CONTENT_TYPES: Final = frozenset({"json", "code", "text"})

Mend = Callable[[RepairKind, str], None]
"""Told of each departure from the format; raises in strict parsing."""

_CONSTRAIN: Final = special.SPECIAL_TOKENS[special.CONSTRAIN]
_CHANNELS: Final = frozenset(channel.value for channel in Channel)
_WORD_AND_RECIPIENT: Final = re.compile(r"\s*([\w-]*(?:\s+to=\S+)?)\s?")
_ROLES: Final = frozenset(role.value for role in Role)
_WORDS: Final = _ROLES | _CHANNELS | CONTENT_TYPES
_ROLE_AND_RECIPIENT: Final = re.compile(
    rf"\s*((?:{'|'.join(sorted(_ROLES))})(?::\S+)?(?:\s+to=\S+)?)(?:\s|$)"
)


@dataclass(frozen=True, slots=True)
class Header:
    """All that a message is besides its content."""

    author: Author
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None

    @property
    def calls_tool(self) -> bool:
        """Whether the message is an assistant's call of a tool."""
        return self.author.role is Role.ASSISTANT and self.recipient not in (None, "all")


@dataclass(slots=True)
class Segment:
    """Text of a header, up to the next special token; `marker` is the one in front, if any."""

    marker: int | None
    text: str


@dataclass(slots=True)
class _Parts:
    """A header being put together."""

    author: Author | None = None
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None
    leftover: list[str] = field(default_factory=list[str])


def parse_header(
    segments: list[Segment], role: Role | None, mend: Mend, *, channel_required: bool = True
) -> Header:
    """Read a header.

    Args:
        segments: The text between the special tokens in it.
        role: The author's role where the prompt has said so already, else None.
        mend: Told of what is wrong.
        channel_required: An assistant's message needs a channel; infer one that is missing.
    """
    parts = _Parts()
    words = _take_marked(segments, parts, mend)
    if role is None:
        _take_author(words, parts, mend)
    else:
        parts.author = Author(role)
        if words and words[0] == role:
            del words[0]
    for word in words:
        _take_word(word, parts, mend)
    if parts.leftover:
        mend(RepairKind.LEFTOVER_WORDS, " ".join(parts.leftover))
    assert parts.author is not None, "set in either branch above"
    if channel_required and parts.channel is None and parts.author.role is Role.ASSISTANT:
        parts.channel = _likely_channel(parts.recipient)
        mend(RepairKind.MISSING_CHANNEL, parts.channel)
    return Header(parts.author, parts.recipient, parts.channel, parts.content_type)


def split_content(segments: list[Segment], role: Role | None) -> tuple[list[Segment], str]:
    """Tell a header from the content that follows it without `<|message|>`.

    Args:
        segments: The text between the special tokens.
        role: The author's role where the prompt has said so already, else None.

    Returns:
        The header, up to and with its last channel or content type, and the text after that. A
        header without either is a role, or nothing where the role is known.
    """
    marked = [position for position, segment in enumerate(segments) if segment.marker is not None]
    if not marked:
        text = "".join(segment.text for segment in segments)
        match = _ROLE_AND_RECIPIENT.match(text) if role is None else None
        if match is None:
            return [], text
        return [Segment(None, match[1])], text[match.end() :]
    last = segments[marked[-1]]
    match = _WORD_AND_RECIPIENT.match(last.text)
    assert match is not None, "the pattern matches nothing at all, too"
    return [*segments[: marked[-1]], Segment(last.marker, match[1])], last.text[match.end() :]


def is_header_text(text: str) -> bool:
    """Whether all words could be part of a header, the last one cut off."""
    words = text.split()
    last = words.pop() if words else ""
    return all(map(_is_header_word, words)) and (
        _is_header_word(last) or any(word.startswith(last) for word in (*_WORDS, "to="))
    )


def _is_header_word(word: str) -> bool:
    return word in _WORDS or word.startswith("to=") or _names_tool(word)


def _take_marked(segments: list[Segment], parts: _Parts, mend: Mend) -> list[str]:
    """Take what stands right behind a special token; gives the other words, in order."""
    others: list[str] = []
    for segment in segments:
        words = segment.text.split()
        if segment.marker == special.CHANNEL:
            _take_channel(words, parts, mend)
        elif segment.marker == special.CONSTRAIN:
            if parts.content_type is not None:
                mend(RepairKind.LEFTOVER_WORDS, parts.content_type)
            parts.content_type = _CONSTRAIN + (words.pop(0) if words else "")
        others += words
    return others


def _take_channel(words: list[str], parts: _Parts, mend: Mend) -> None:
    if not words or words[0].startswith("to="):
        mend(RepairKind.EMPTY_CHANNEL, "")
        return
    if parts.channel is not None:
        mend(RepairKind.DOUBLED_CHANNEL, parts.channel)
    parts.channel = words.pop(0)


def _take_author(words: list[str], parts: _Parts, mend: Mend) -> None:
    first = words[0] if words else ""
    role, colon, name = first.partition(":")
    if role in _ROLES:
        parts.author = Author(Role(role), name if colon else None)
        del words[0]
    elif _names_tool(first) or "to=assistant" in words:
        parts.author = Author(Role.TOOL, first)
        del words[0]
    else:
        mend(RepairKind.UNKNOWN_ROLE, first)
        parts.author = Author(Role.ASSISTANT)
        if first not in _CHANNELS and not first.startswith("to="):
            del words[:1]


def _take_word(word: str, parts: _Parts, mend: Mend) -> None:
    if word.startswith("to="):
        recipient, leak, _ = word.removeprefix("to=").partition("<|")
        if leak or not recipient:
            mend(RepairKind.LEFTOVER_WORDS, word)
        if parts.recipient is not None:
            mend(RepairKind.LEFTOVER_WORDS, f"to={parts.recipient}")
        parts.recipient = recipient or None
    elif word in _CHANNELS and parts.channel is None:
        mend(RepairKind.MISSING_CHANNEL, word)
        parts.channel = word
    elif parts.recipient is None and _names_tool(word):
        parts.recipient = word
    elif parts.content_type is None:
        parts.content_type = word
    elif word in CONTENT_TYPES and not _is_known_type(parts.content_type):
        parts.leftover.insert(0, parts.content_type)
        parts.content_type = word
    else:
        parts.leftover.append(word)


def _is_known_type(content_type: str) -> bool:
    return content_type in CONTENT_TYPES or content_type.startswith(_CONSTRAIN)


def _names_tool(word: str) -> bool:
    namespace, dot, name = word.partition(".")
    return bool(dot and name and namespace) or word in BUILTIN_TOOLS


def _likely_channel(recipient: str | None) -> str:
    if recipient is None:
        return Channel.FINAL.value
    builtin = recipient.partition(".")[0] in BUILTIN_TOOLS
    return (Channel.ANALYSIS if builtin else Channel.COMMENTARY).value

"""How one message is laid out as pieces: special ids, and plain texts to be encoded one by one.

Plain text is encoded as text whatever it says, so nothing that a user, a tool or a schema holds
can become a special token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ossia.errors import HarmonyError
from ossia.harmony.contents import Content, DeveloperContent, SystemContent, TextContent
from ossia.harmony.differences import NONE, Difference
from ossia.harmony.messages import Message, Role
from ossia.harmony.tool_schema import tools_section
from ossia.tokenizer import special

_CONSTRAIN: Final = special.SPECIAL_TOKENS[special.CONSTRAIN]
_SPACE: Final = re.compile(r"\s")
_HEADER_WORD: Final = re.compile(r"[^\s<>]+")

Piece = int | str
"""A special token's id, or plain text."""


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What one message's rendering needs to know of its conversation."""

    conversation_has_function_tools: bool = False


def message_pieces(
    message: Message, options: RenderOptions, as_library: frozenset[Difference] = NONE
) -> Iterator[Piece]:
    """The pieces of one message, from `<|start|>` to its end token."""
    if Difference.NAMES not in as_library:
        _check_header(message)
    yield special.START
    yield from _author(message)
    if message.recipient is not None and message.recipient != "all":
        yield f" to={message.recipient}"
    if message.channel is not None:
        yield special.CHANNEL
        yield message.channel
    if message.content_type is not None:
        yield from _content_type(message.content_type)
    yield special.MESSAGE
    for content in message.content:
        yield _content_text(content, message.author.role, options, as_library)
    calls_tool = message.author.role is Role.ASSISTANT and message.recipient is not None
    yield special.CALL if calls_tool else special.END


def as_text(pieces: Iterable[Piece]) -> str:
    """Pieces as readable text, special tokens by name; not safe to encode again."""
    return "".join(
        special.SPECIAL_TOKENS[piece] if isinstance(piece, int) else piece for piece in pieces
    )


def _author(message: Message) -> Iterator[str]:
    role, name = message.author.role, message.author.name
    if role is not Role.TOOL:
        yield role.value
        if name is not None:
            yield f":{name}"
    elif name is None:
        raise HarmonyError("a tool's message needs the tool's name as its author's name")
    else:
        yield name


def _content_type(content_type: str) -> Iterator[Piece]:
    if content_type.startswith(_CONSTRAIN):
        yield " "
        yield special.CONSTRAIN
        yield content_type.removeprefix(_CONSTRAIN)
    else:
        yield f" {content_type}"


def _check_header(message: Message) -> None:
    fields = {
        "author's name": message.author.name,
        "recipient": message.recipient,
        "channel": message.channel,
    }
    for name, value in fields.items():
        if value is not None and not _HEADER_WORD.fullmatch(value):
            raise HarmonyError(
                f"the {name} {value!r} must be one word without white space, '<' or '>'"
            )
    if message.content_type is not None and _SPACE.search(message.content_type):
        raise HarmonyError(f"the content type {message.content_type!r} must be one word")


def _content_text(
    content: Content, role: Role, options: RenderOptions, as_library: frozenset[Difference]
) -> str:
    if isinstance(content, TextContent):
        return content.text
    if isinstance(content, SystemContent):
        if role is not Role.SYSTEM:
            raise HarmonyError(f"SystemContent stands in a message of role {role}, not system")
        return _system_text(content, options, as_library)
    if role is not Role.DEVELOPER:
        raise HarmonyError(f"DeveloperContent stands in a message of role {role}, not developer")
    return _developer_text(content, as_library)


def _system_text(
    content: SystemContent, options: RenderOptions, as_library: frozenset[Difference]
) -> str:
    facts = [
        content.model_identity,
        _labelled("Knowledge cutoff", content.knowledge_cutoff),
        _labelled("Current date", content.conversation_start_date),
    ]
    known = [fact for fact in facts if fact is not None]
    sections = ["\n".join(known)] if known else []
    if content.reasoning_effort is not None:
        sections.append(f"Reasoning: {content.reasoning_effort.value.lower()}")
    if content.tools:
        sections.append(tools_section(content.tools, as_library))
    if content.channel_config is not None and content.channel_config.valid_channels:
        channels = f"# Valid channels: {', '.join(content.channel_config.valid_channels)}."
        if content.channel_config.channel_required:
            channels += " Channel must be included for every message."
        if options.conversation_has_function_tools:
            channels += "\nCalls to these tools must go to the commentary channel: 'functions'."
        sections.append(channels)
    return "\n\n".join(sections)


def _developer_text(content: DeveloperContent, as_library: frozenset[Difference]) -> str:
    sections: list[str] = []
    if content.instructions is not None:
        sections += ["# Instructions", content.instructions]
    if content.tools:
        sections.append(tools_section(content.tools, as_library))
    return "\n\n".join(sections)


def _labelled(label: str, value: str | None) -> str | None:
    return None if value is None else f"{label}: {value}"

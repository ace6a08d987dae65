"""Role, Author, Message and Conversation: who said what, to whom, on which channel.

Names and JSON forms are those of the `openai_harmony` package. Its builders (`with_...`) change
the object and return it, and so do these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from ossia.errors import HarmonyDataError
from ossia.harmony.contents import Content, TextContent, content_from_dict
from ossia.harmony.json_value import optional_text
from ossia.harmony.repairs import Repair


class Role(StrEnum):
    """Who a message is from. In case of conflict an earlier role outranks a later one."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Channel(StrEnum):
    """The channels gpt-oss was trained on; a message's channel may be any string."""

    ANALYSIS = "analysis"  # reasoning, and calls of built-in tools
    COMMENTARY = "commentary"  # calls of functions, and words to the user before them
    FINAL = "final"  # the answer


@dataclass(slots=True)
class Author:
    """A role, and for tools (required) and users (optional) a name."""

    role: Role
    name: str | None = None

    def __post_init__(self) -> None:
        try:
            self.role = Role(self.role)
        except ValueError:
            raise HarmonyDataError(f"unknown role {self.role!r}") from None

    @classmethod
    def new(cls, role: Role, name: str) -> Author:
        """The same as the constructor."""
        return cls(role, name)


def _no_content() -> list[Content]:
    return []


def _no_repairs() -> list[Repair]:
    return []


@dataclass(slots=True)
class Message:
    """One message.

    Args:
        author: Who it is from.
        content: Its parts, written one after the other.
        channel: `analysis`, `commentary` or `final` for an assistant's message.
        recipient: The tool an assistant calls, such as `functions.lookup`, or, for a tool's
            message, `assistant`.
        content_type: What the text is, such as `<|constrain|>json`.
        repairs: What the parser had to mend to read this message; no part of its value.
    """

    author: Author
    content: list[Content] = field(default_factory=_no_content)
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
    repairs: list[Repair] = field(default_factory=_no_repairs, compare=False, repr=False)

    @classmethod
    def from_author_and_content(cls, author: Author, content: str | Content) -> Message:
        """A message of one part."""
        return cls(author, [_as_content(content)])

    @classmethod
    def from_role_and_content(cls, role: Role, content: str | Content) -> Message:
        """A message of one part from an author without a name."""
        return cls(Author(role), [_as_content(content)])

    @classmethod
    def from_role_and_contents(cls, role: Role, contents: Sequence[Content]) -> Message:
        """A message of several parts from an author without a name."""
        return cls(Author(role), list(contents))

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part.text for part in self.content if isinstance(part, TextContent))

    def adding_content(self, content: str | Content) -> Message:
        """Add a part."""
        self.content.append(_as_content(content))
        return self

    def with_channel(self, channel: str) -> Message:
        """Set the channel."""
        self.channel = channel
        return self

    def with_recipient(self, recipient: str) -> Message:
        """Set the recipient."""
        self.recipient = recipient
        return self

    def with_content_type(self, content_type: str) -> Message:
        """Set the content type."""
        self.content_type = content_type
        return self

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what is not set. Repairs are not part of it."""
        raw: dict[str, Any] = {
            "role": self.author.role.value,
            "name": self.author.name,
            "content": [part.to_dict() for part in self.content],
        }
        for name in ("channel", "recipient", "content_type"):
            if (value := getattr(self, name)) is not None:
                raw[name] = value
        return raw

    def to_json(self) -> str:
        """The JSON form as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Message:
        """Read the JSON form; `content` may also be a plain string.

        Raises:
            HarmonyDataError: the role or a content is missing, unknown or malformed.
        """
        for needed in ("role", "content"):
            if needed not in data:
                raise HarmonyDataError(f"a message needs {needed!r}")
        name, channel, recipient, content_type = (
            optional_text(data, field, "a message")
            for field in ("name", "channel", "recipient", "content_type")
        )
        content = _content_from_json(data["content"])
        return cls(Author(data["role"], name), content, channel, recipient, content_type)


def _content_from_json(raw: object) -> list[Content]:
    if isinstance(raw, str):
        return [TextContent(raw)]
    parts = cast("Sequence[object]", raw) if isinstance(raw, list | tuple) else [None]
    if not all(isinstance(part, Mapping) for part in parts):
        raise HarmonyDataError("the content of a message must be text or a list of objects")
    return [content_from_dict(part) for part in cast("Sequence[Mapping[str, Any]]", parts)]


def _no_messages() -> list[Message]:
    return []


@dataclass(slots=True)
class Conversation:
    """Messages in order."""

    messages: list[Message] = field(default_factory=_no_messages)

    @classmethod
    def from_messages(cls, messages: Sequence[Message]) -> Conversation:
        """A conversation of these messages.

        Raises:
            HarmonyDataError: one of them is no message.
        """
        conversation = cls(list(messages))
        for each in conversation.messages:
            if not isinstance(each, Message):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise HarmonyDataError(f"{type(each).__name__} found where a Message belongs")
        return conversation

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"messages": [message.to_dict() for message in self.messages]}

    def to_json(self) -> str:
        """The JSON form as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, payload: str) -> Conversation:
        """Read the JSON form.

        Raises:
            HarmonyDataError: it is no JSON, or a message is malformed.
        """
        try:
            data: object = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise HarmonyDataError(f"not the JSON form of a conversation: {error}") from error
        raw = cast("dict[str, object]", data).get("messages") if isinstance(data, dict) else None
        messages = cast("list[object]", raw) if isinstance(raw, list) else [None]
        if not all(isinstance(each, dict) for each in messages):
            raise HarmonyDataError(
                "not the JSON form of a conversation: an object whose 'messages' are objects"
            )
        return cls([Message.from_dict(each) for each in cast("list[dict[str, Any]]", messages)])


def _as_content(content: str | Content) -> Content:
    return TextContent(content) if isinstance(content, str) else content

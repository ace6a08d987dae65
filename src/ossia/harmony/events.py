"""What the parser reports while the model writes.

    MessageStart  (ReasoningDelta | TextDelta | ToolCallDelta)*  MessageEnd

The texts of a message's deltas, joined, are the text of the message at its end.
"""

from __future__ import annotations

from dataclasses import dataclass

from ossia.harmony.header import Header
from ossia.harmony.messages import Message


@dataclass(frozen=True, slots=True)
class MessageStart:
    """A header is complete; content follows."""

    header: Header


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of a message on the analysis channel."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of a message to the user: the final answer, or words on the commentary channel."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the arguments of a tool call."""

    text: str


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """A message is complete, or the output ended.

    Args:
        message: The whole message, with what had to be mended to read it.
        stop_token: The token that ended it; None if the output or a new header cut it off.
    """

    message: Message
    stop_token: int | None


Delta = ReasoningDelta | TextDelta | ToolCallDelta
Event = MessageStart | Delta | MessageEnd

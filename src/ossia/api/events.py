"""What happens while a model answers, in order. Whoever shows or stores an answer consumes these.

Within one message deltas come first and `MessageDone` last; `Done` ends every answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ossia.harmony import Message, RepairKind
from ossia.types import TokenLogprob


class Ending(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the model was done, or a stop string came
    LENGTH = "length"  # max_tokens or the model's context length was reached
    TOOL_CALLS = "tool_calls"  # the caller is to run a tool
    ABORT = "abort"  # the caller went away
    DEADLINE = "deadline"  # the request's time was up


@dataclass(frozen=True, slots=True)
class TokenDrawn:
    """One token of raw output, before anything is made of it."""

    token_id: int
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the analysis channel."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text for the user.

    `preamble` marks the commentary channel: what the model says before it calls a tool.
    """

    text: str
    preamble: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the arguments of a tool call that is being written."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A finished tool call.

    Args:
        call_id: Unique within the answer.
        name: The function's name; of built-in tools with their namespace, as `browser.search`.
        arguments: As the model wrote them: JSON of an object, unless the model erred.
        recipient: The full name, such as `functions.lookup`.
    """

    call_id: str
    name: str
    arguments: str
    recipient: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool that the answer ran itself gave back to the model.

    Args:
        call_id: Of the call.
        name: As the call has it.
        output: What the model reads.
        failed: Whether it is no more than what went wrong.
        about: What the tool has to say to whoever shows the answer; the model does not see it.
    """

    call_id: str
    name: str
    output: str
    failed: bool = False
    about: Any = None


@dataclass(frozen=True, slots=True)
class MessageDone:
    """The model has finished a message, or was cut off in it."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts, summed over the model's turns where tools were run in between.

    Args:
        input_tokens: Tokens of the prompts.
        cached_tokens: Of those, how many the prefix cache held.
        output_tokens: Tokens drawn, control tokens included.
        reasoning_tokens: Of those, how many are text on the analysis channel.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of an answer.

    Args:
        finish_reason: Why.
        usage: What it took.
        messages: Everything that the conversation has gained, tool results included. What had to be
            mended to read a message is in its `repairs`.
        stop_string: The one of the question's stop strings that ended the text.
        repairs: How many there were of each kind, those included that led to no message.
    """

    finish_reason: Ending
    usage: Usage
    messages: tuple[Message, ...]
    stop_string: str | None = None
    repairs: Mapping[RepairKind, int] = field(default_factory=dict[RepairKind, int])


Event = (
    TokenDrawn
    | ReasoningDelta
    | TextDelta
    | ToolCallDelta
    | ToolCall
    | ToolResult
    | MessageDone
    | Done
)

"""What a task hands over: steps of a dialogue, each a prompt and the reply to every effort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, NamedTuple

Effort = Literal["low", "medium", "high"]
EFFORTS: tuple[Effort, ...] = ("low", "medium", "high")


class Call(NamedTuple):
    """A function call: the function's name, and name and arguments as the model spells them."""

    name: str
    name_ids: list[int]
    arguments_ids: list[int]


class Reply(NamedTuple):
    """Reasoning, and either a final answer or a call."""

    analysis: list[int]
    final: list[int] | None = None
    call: Call | None = None


class UserSays(NamedTuple):
    """A user's message, as text and ids."""

    text: str
    ids: Sequence[int]


class ToolSays(NamedTuple):
    """What a function gave back."""

    name: str
    text: str
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Step:
    """One prompt message and how to reply to it.

    Args:
        prompt: The message.
        reply: The one right reply at a reasoning effort.
        task: Name of the kind of step, for reports.
        expected: What an evaluation compares with.
    """

    prompt: UserSays | ToolSays
    reply: Callable[[Effort], Reply]
    task: str
    expected: Any = None


Split = Literal["train", "test"]
Task = Callable[[Random, Split], list[Step]]

"""The messages that open a conversation, and those that people write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from ossia.api.tools import Tool
from ossia.harmony import (
    Channel,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
)


def opening_messages(
    *,
    effort: ReasoningEffort = ReasoningEffort.MEDIUM,
    instructions: str | None = None,
    tools: Sequence[Tool] = (),
    today: date | None = None,
) -> list[Message]:
    """The system message, and a developer message if there is anything to say in it.

    Args:
        effort: How long the model is to think.
        instructions: How it is to behave.
        tools: Functions it may call.
        today: What day it is to believe it is; None is the day here and now.
    """
    day = today or datetime.now().astimezone().date()
    system = SystemContent(reasoning_effort=effort, conversation_start_date=day.isoformat())
    messages = [Message.from_role_and_content(Role.SYSTEM, system)]
    if instructions or tools:
        developer = DeveloperContent(instructions=instructions or None)
        if tools:
            developer.with_function_tools([tool.description for tool in tools])
        messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    return messages


def user_message(text: str) -> Message:
    """What a user says."""
    return Message.from_role_and_content(Role.USER, text)


def answer_message(text: str) -> Message:
    """What the model has answered, for the history."""
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel(Channel.FINAL)

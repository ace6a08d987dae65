"""The messages that a prompt of the Responses API opens with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ossia.harmony import (
    Content,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolNamespaceConfig,
)


def with_opening(
    messages: Sequence[Message],
    *,
    effort: ReasoningEffort,
    instructions: str | None,
    groups: dict[str, ToolNamespaceConfig],
    sections: Sequence[str],
    today: date,
    browser: bool = False,
) -> list[Message]:
    """A conversation with its system and developer messages.

    Where there are no instructions, those that the conversation itself begins with are put in
    their place, in front of the tools.

    Args:
        messages: The conversation.
        effort: How long to think.
        instructions: How to behave.
        groups: Tools on offer, by namespace.
        sections: Further parts of the developer message.
        today: What day it is to believe it is.
        browser: Offer the browser that it was trained with.
    """
    rest = list(messages)
    if instructions is None and rest and (own := _instructions(rest[0])) is not None:
        instructions = own
        del rest[0]
    system = SystemContent(reasoning_effort=effort, conversation_start_date=today.isoformat())
    if browser:
        system = system.with_browser_tool()
    opening = [Message.from_role_and_content(Role.SYSTEM, system)]
    parts: list[Content] = []
    if instructions or groups:
        parts.append(DeveloperContent(instructions or None, groups or None))
    if sections:
        gap = "\n\n" if parts else ""
        parts.append(TextContent(gap + "\n\n".join(sections)))
    if parts:
        opening.append(Message.from_role_and_contents(Role.DEVELOPER, parts))
    return [*opening, *rest]


def _instructions(message: Message) -> str | None:
    match message.content:
        case [DeveloperContent(instructions=str(text), tools=None)]:
            return text
        case _:
            return None

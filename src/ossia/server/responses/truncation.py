"""`truncation: auto`: the oldest messages go until the prompt fits the model's context."""

from __future__ import annotations

from collections.abc import Sequence

from ossia.harmony import Conversation, Message, Renderer, Role

_MOST_RESERVED = 4096  # tokens kept free for an answer of unsaid length


def prompt_length(messages: Sequence[Message], renderer: Renderer) -> int:
    """Tokens of a prompt.

    Raises:
        HarmonyError: a message cannot be written in the format.
    """
    return len(renderer.render_conversation_for_completion(Conversation(list(messages))))


def fitted(
    messages: Sequence[Message],
    renderer: Renderer,
    *,
    max_context: int,
    max_output: int | None,
) -> list[Message]:
    """The messages without the oldest ones, so that the prompt leaves room for an answer.

    System and developer messages at the beginning stay, and so does the last message. A tool's
    output goes with its call.

    Args:
        messages: The whole prompt.
        renderer: Tells its length.
        max_context: Tokens of prompt and answer together at most.
        max_output: How long the answer may become, if that is said.

    Raises:
        HarmonyError: a message cannot be written in the format.
    """
    kept = list(messages)
    reserved = min(max_output or max_context // 4, max_context // 4, _MOST_RESERVED)
    excess = prompt_length(kept, renderer) - (max_context - reserved)
    first = next((i for i, one in enumerate(kept) if not _opens(one)), len(kept))
    while excess > 0 and first < len(kept) - 1:
        dropped = kept.pop(first)
        excess -= len(renderer.render(dropped))
        while first < len(kept) - 1 and kept[first].author.role is Role.TOOL:
            excess -= len(renderer.render(kept.pop(first)))
        if excess <= 0:
            # Reasoning that was left out of the prompt has been counted as dropped.
            excess = prompt_length(kept, renderer) - (max_context - reserved)
    return kept


def _opens(message: Message) -> bool:
    return message.author.role in (Role.SYSTEM, Role.DEVELOPER)

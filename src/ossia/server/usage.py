"""Token counts as Chat Completions and text completions show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ossia.api.events import Usage


def usage_of_choices(usages: Sequence[Usage]) -> Usage:
    """Of all choices of a request together; their prompt counts once."""
    first = usages[0]
    return Usage(
        input_tokens=first.input_tokens,
        cached_tokens=first.cached_tokens,
        output_tokens=sum(usage.output_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )


def usage_object(usage: Usage) -> dict[str, Any]:
    """The `usage` member."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }

"""Reasoning effort: the newer spellings of the hosted API, as gpt-oss knows it."""

from __future__ import annotations

from typing import Final

from ossia.harmony import ReasoningEffort

_EFFECTIVE: Final = {
    "none": ReasoningEffort.LOW,
    "minimal": ReasoningEffort.LOW,
    "low": ReasoningEffort.LOW,
    "medium": ReasoningEffort.MEDIUM,
    "high": ReasoningEffort.HIGH,
    "xhigh": ReasoningEffort.HIGH,
    "max": ReasoningEffort.HIGH,
}


def effective_effort(asked: str | None) -> ReasoningEffort:
    """What the model is told; it knows three words, and medium is its default."""
    return _EFFECTIVE[asked] if asked is not None else ReasoningEffort.MEDIUM


def may_reason(asked: str | None) -> bool:
    """Whether it may think at all before it answers."""
    return asked != "none"

"""Repair: what the parser mended in malformed model output, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RepairKind(StrEnum):
    """How the output departed from the format."""

    STRAY_TOKENS = "stray tokens"  # something between the end of a message and the next start
    MISSING_START = "missing start"  # a header began without <|start|>
    MISSING_MESSAGE = "missing message"  # a header ended without <|message|>
    UNFINISHED_HEADER = "unfinished header"  # the output ended inside a header
    MISSING_END = "missing end"  # a message was cut off by the start of the next
    MISPLACED_TOKEN = "misplaced token"  # a control token inside text, or an id with no meaning
    UNKNOWN_ROLE = "unknown role"
    MISSING_CHANNEL = "missing channel"
    DOUBLED_CHANNEL = "doubled channel"
    EMPTY_CHANNEL = "empty channel"
    LEFTOVER_WORDS = "leftover words"  # words in a header that mean nothing there


@dataclass(frozen=True, slots=True)
class Repair:
    """One departure from the format that lenient parsing mended.

    Args:
        kind: What was wrong.
        text: The text or tokens at fault, as text; nothing of the model's output is lost.
        position: Index, among all tokens given to the parser, at which it was noticed.
    """

    kind: RepairKind
    text: str
    position: int

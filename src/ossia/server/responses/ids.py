"""Ids of responses and items: a prefix that says what it is, and 24 random bytes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Final

RESPONSE: Final = "resp"
MESSAGE: Final = "msg"
REASONING: Final = "rs"
FUNCTION_CALL: Final = "fc"
FUNCTION_OUTPUT: Final = "fco"
CUSTOM_CALL: Final = "ctc"
CUSTOM_OUTPUT: Final = "ctco"
COMPACTION: Final = "cmp"
CALL: Final = "call"
WEB_SEARCH: Final = "ws"

_SANE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")

IdMaker = Callable[[str], str]
"""Gives a fresh id with a prefix."""


def new_id(prefix: str) -> str:
    """An id that nobody can guess, such as `msg_5f...`."""
    return f"{prefix}_{secrets.token_hex(24)}"


def is_sane(given: object) -> bool:
    """Whether an id that a client chose can be kept: a short word of harmless characters."""
    return isinstance(given, str) and _SANE.fullmatch(given) is not None

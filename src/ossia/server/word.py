"""check_word: whether a name can stand in a header of harmony."""

from __future__ import annotations

import re
from typing import Final

from ossia.server.api_error import ApiError

_WORD: Final = re.compile(r"[^\s<>]+")


def check_word(name: str, path: str) -> None:
    """See that a name is one word.

    Raises:
        ApiError: it is not, or holds what begins and ends control tokens; `param` is the path.
    """
    if _WORD.fullmatch(name) is None:
        raise ApiError(
            f"Invalid value for '{path}': it must be one word without '<' and '>'.",
            param=path,
            code="invalid_value",
        )

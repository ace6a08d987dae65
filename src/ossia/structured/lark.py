"""What a Lark grammar may not hold: tokens by name or number, and schemas past our limits."""

from __future__ import annotations

import re
from typing import Final

_QUOTED: Final = re.compile(
    r'"(?:\\.|[^"\\\n])*"|(?://|\#)[^\n]*|/(?![*/])(?:\\.|[^/\\\n])+/'
)  # strings, comments, expressions
_TOKEN: Final = re.compile(r"<[^<>\s]*>")


def problem_of(source: str) -> str | None:
    """Why a grammar cannot be used, to be read behind "a grammar"; None if it can.

    A text is made of ordinary tokens: what ends it is not the grammar's business, and what a user
    writes never becomes a control token.
    """
    bare = _QUOTED.sub('""', source)
    if (match := _TOKEN.search(bare)) is not None:
        return f"that names the token {match[0]}; write the text in quotes instead"
    if "%json" in bare:
        return "that holds a schema (%json); give the schema as such instead"
    return None

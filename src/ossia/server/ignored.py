"""Fields that a request's body has and its model has not: the answer's header tells their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from pydantic import BaseModel

HEADER: Final = b"x-ossia-ignored"
_MOST_NAMES: Final = 10
_LONGEST_NAME: Final = 64
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.\[\]-]")  # in a header, or between the names of one


def ignored_names(given: Iterable[str], model: type[BaseModel]) -> bytes:
    """What the header says; empty if every name is known.

    Args:
        given: Names of the body's members; clients choose them.
        model: What the body is read as.
    """
    known = {field.alias or name for name, field in model.model_fields.items()}
    unknown = islice((name for name in given if name not in known), _MOST_NAMES)
    return ", ".join(_UNSAFE.sub("?", name[:_LONGEST_NAME]) for name in unknown).encode()

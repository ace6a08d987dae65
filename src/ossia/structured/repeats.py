"""Patterns whose repeats multiply: tried one by one, since what is behind the begin is seen late.

The begin of a text is tried with the whole grammar. A pattern that stands deeper would show only
while the text is drawn that its automaton grows past all limits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from ossia.structured.schema import Schema, read_schema, subschemas

TextCheck = Callable[[str], bool]
"""Whether a text deep in another, given as a JSON schema, can be written at bearable costs."""

_COUNTS: Final = re.compile(r"\{(\d+)?(?:,(\d+)?)?\}")
_MANY: Final = 10_000  # repeats of repeats from which a pattern is tried; fewer never cost much
_MOST_TRIED: Final = 32  # patterns of a schema: each takes up to 0.1 s of a thread
_ABOUT_TEXTS: Final = ("pattern", "minLength", "maxLength")


def costly_pattern(source: str, is_bearable: TextCheck) -> str | None:
    """Where a schema has a pattern that costs too much for each token; None if it has none.

    Args:
        source: A schema that the compiler takes, as JSON text.
        is_bearable: Tries one.
    """
    root = read_schema(source)
    if isinstance(root, bool):
        return None
    tried = set[str]()
    for place, text in _suspects(root):
        schema = json.dumps(text)
        if schema in tried:
            continue
        if len(tried) == _MOST_TRIED:
            return None
        tried.add(schema)
        if not is_bearable(schema):
            return place
    return None


def _suspects(root: Schema) -> Iterator[tuple[str, Schema]]:
    """Schemas of texts whose patterns repeat what is repeated, each with its place."""
    for place, schema in subschemas(root):
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and _repeats_much(pattern):
            limits = {name: schema[name] for name in _ABOUT_TEXTS if name in schema}
            yield place, {"type": "string", **limits}
        names = schema.get("patternProperties")
        for name in names if isinstance(names, dict) else ():
            if _repeats_much(name):
                yield f"{place}/patternProperties", {"type": "string", "pattern": name}


def _repeats_much(pattern: str) -> bool:
    """Whether a part may have so many copies, as if each count stood within all others."""
    copies = 1
    for found in _COUNTS.finditer(pattern):
        least, most = found.groups()
        copies *= max(1, int((most or least or "1")[:9]))
        if copies >= _MANY:  # a hostile pattern has counts by the ten thousand
            return True
    return False

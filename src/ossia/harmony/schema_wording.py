"""SchemaWording: the comments and literals that stand in and around the types of a tool.

What comes from a schema's author stays inside its comment or its quotes.
"""

from __future__ import annotations

import re
from typing import Final

from ossia.harmony.differences import Difference
from ossia.harmony.json_value import Json, compact

_PLAIN_NAME: Final = re.compile(r"[\w.$-]+")
_BREAKS_JSON_KEEPS: Final = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}


class SchemaWording:
    """Writes comments, names and values.

    Args:
        as_library: Differences that are switched back to the library's behaviour.
    """

    def __init__(self, as_library: frozenset[Difference]) -> None:
        self._as_library = as_library

    def comment(self, text: str, indent: str = "") -> str:
        """Text as comment lines, each ending in a line break."""
        lines = text.splitlines() or [""] if self._differs(Difference.LINE_BREAKS) else [text]
        return "".join(f"{indent}// {line}\n" for line in lines)

    def one_line(self, text: str) -> str:
        """Text that shares its line with what stands before it."""
        return " ".join(text.splitlines()) if self._differs(Difference.LINE_BREAKS) else text

    def examples(self, schema: dict[str, Json], indent: str) -> str:
        """The examples of a property as comment lines, if it has any."""
        examples = schema.get("examples")
        if not isinstance(examples, list) or not examples:
            return ""
        lines = [f"{indent}// Examples:\n"]
        for example in examples:
            if isinstance(example, str) or self._differs(Difference.LITERALS):
                lines.append(f"{indent}// - {self.literal(example)}\n")
        return "".join(lines)

    def default(self, schema: dict[str, Json], *, quote: bool = False) -> str:
        """The default value; that of an enum of strings stands without quotes in a property."""
        value, words = schema["default"], schema.get("enum")
        if not isinstance(value, str):
            return self._json(value)
        literal = self.literal(value)
        if not (isinstance(words, list) and words):
            return literal
        if quote:
            return self._json(value)
        return value if literal == f'"{value}"' else literal

    def literal(self, value: Json) -> str:
        """A value as TypeScript has it."""
        if isinstance(value, str) and not self._differs(Difference.LITERALS):
            return f'"{value}"'
        return self._json(value)

    def property_name(self, name: str) -> str:
        """The name of a property, in quotes if it is no plain word."""
        if _PLAIN_NAME.fullmatch(name) or not self._differs(Difference.NAMES):
            return name
        return self._json(name)

    def _json(self, value: Json) -> str:
        text = compact(value)
        return text.translate(_BREAKS_JSON_KEEPS) if self._differs(Difference.LITERALS) else text

    def _differs(self, difference: Difference) -> bool:
        return difference not in self._as_library

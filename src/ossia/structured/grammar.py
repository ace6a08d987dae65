"""Grammar: what a text must look like, as plain data that can travel between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class GrammarKind(StrEnum):
    """How a grammar is written."""

    JSON_SCHEMA = "json_schema"  # the source is a JSON schema, as JSON text
    JSON_OBJECT = "json_object"  # any JSON object; the source is empty
    REGEX = "regex"  # the whole text must match
    LARK = "lark"  # a context-free grammar in Lark's notation


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a text must look like.

    Args:
        kind: How `source` is written.
        source: The schema, expression or grammar.
    """

    kind: GrammarKind
    source: str = ""

    def to_dict(self) -> dict[str, str]:
        """The JSON form."""
        return {"kind": self.kind.value, "source": self.source}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Grammar:
        """Read the JSON form."""
        return cls(GrammarKind(raw["kind"]), raw["source"])

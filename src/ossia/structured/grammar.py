"""Grammar: what a text must look like, as plain data that can travel between processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as data_field
from enum import StrEnum
from typing import Any

from ossia.errors import RequestError


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
        strict: Whether a schema with a keyword that cannot be enforced is refused; otherwise such
            keywords are passed over, and the rest is enforced.
        field: Where the request holds it, such as `text.format.schema`; named where it is refused.
    """

    kind: GrammarKind
    source: str = ""
    strict: bool = True
    field: str = data_field(default="", compare=False)

    @classmethod
    def json_schema(
        cls, schema: Mapping[str, Any] | bool | str, *, strict: bool = True, field: str = ""
    ) -> Grammar:
        """JSON that fulfils a schema.

        Args:
            schema: The schema, or its JSON text.
            strict: As in the class.
            field: As in the class.

        Raises:
            RequestError: the schema is no JSON.
        """
        if not isinstance(schema, str):
            try:
                schema = json.dumps(schema, ensure_ascii=False)
            except (TypeError, ValueError, RecursionError) as error:
                message = f"a schema that is no JSON: {error}"
                raise RequestError(message, field=field or "schema") from None
        return cls(GrammarKind.JSON_SCHEMA, schema, strict, field)

    @classmethod
    def json_object(cls, *, field: str = "") -> Grammar:
        """Any JSON object."""
        return cls(GrammarKind.JSON_OBJECT, field=field)

    @classmethod
    def regex(cls, expression: str, *, field: str = "") -> Grammar:
        """Text that an expression matches as a whole."""
        return cls(GrammarKind.REGEX, expression, field=field)

    @classmethod
    def lark(cls, source: str, *, field: str = "") -> Grammar:
        """Text that a context-free grammar gives."""
        return cls(GrammarKind.LARK, source, field=field)

    @classmethod
    def choice(cls, texts: Sequence[str], *, field: str = "") -> Grammar:
        """One of some texts.

        Raises:
            RequestError: there is none.
        """
        if not texts:
            raise RequestError("there is nothing to choose from", field=field or "choice")
        # JSON writes a string as Lark does.
        quoted = [json.dumps(text, ensure_ascii=False) for text in texts]
        return cls(GrammarKind.LARK, f"start: {' | '.join(quoted)}", field=field)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind.value,
            "source": self.source,
            "strict": self.strict,
            "field": self.field,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Grammar:
        """Read the JSON form."""
        kind = GrammarKind(raw["kind"])
        return cls(kind, raw["source"], raw.get("strict", True), raw.get("field", ""))

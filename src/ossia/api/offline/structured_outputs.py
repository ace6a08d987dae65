"""StructuredOutputsParams: what an output must look like, in vLLM's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ossia.errors import RequestError
from ossia.structured import Grammar

_FIELD = "structured_outputs"
_WAYS = ("json", "regex", "choice", "grammar", "json_object")


@dataclass(kw_only=True)
class StructuredOutputsParams:
    """What an output must look like: one of the first five; names and defaults are vLLM's.

    In `LLM.generate` it holds for the whole output, in `LLM.chat` for the answer, not for what the
    model thinks before.

    Args:
        json: A JSON schema, as an object or as text.
        regex: What the whole text must match.
        choice: Texts, one of which comes.
        grammar: In Lark's notation.
        json_object: Whether any JSON object will do.
        disable_fallback: Makes no difference: there is one way to enforce.
        disable_any_whitespace: Not supported.
        disable_additional_properties: Not supported; say so in the schema.
        whitespace_pattern: Not supported.
        structural_tag: Not supported.

    Raises:
        RequestError: none of them is given, several are, or what is not supported.
    """

    json: str | Mapping[str, Any] | None = None
    regex: str | None = None
    choice: Sequence[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    disable_fallback: bool = False
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None
    structural_tag: str | None = None

    def __post_init__(self) -> None:
        known = (*_WAYS, "disable_fallback")
        for name in (one.name for one in fields(self) if one.name not in known):
            if getattr(self, name):
                raise RequestError(f"{name} is not supported; leave it out", field=_FIELD)
        given = [name for name in _WAYS if getattr(self, name)]
        if len(given) != 1:
            raise RequestError(f"give one of {', '.join(_WAYS)}, not {len(given)}", field=_FIELD)
        self.to_grammar()

    def to_grammar(self) -> Grammar:
        """The same in the words of the layers below."""
        if self.json:
            source = self.json if isinstance(self.json, str) else dict(self.json)
            return Grammar.json_schema(source, field=_FIELD)
        if self.regex:
            return Grammar.regex(self.regex, field=_FIELD)
        if self.choice:
            return Grammar.choice(self.choice, field=_FIELD)
        if self.grammar:
            return Grammar.lark(self.grammar, field=_FIELD)
        return Grammar.json_object(field=_FIELD)

"""What a compiler's complaint means for whoever wrote the grammar, in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ossia.structured.grammar import Grammar, GrammarKind
from ossia.structured.schema import place_of

_NOUNS: Final = {
    GrammarKind.JSON_SCHEMA: "a schema",
    GrammarKind.JSON_OBJECT: "a schema",
    GrammarKind.REGEX: "a regular expression",
    GrammarKind.LARK: "a grammar",
}
_TOO_LARGE: Final = re.compile(
    r"too big|too large|too complex|precomputation failed|too many expressions|limit.*exceeded"
)
_PLACE_OF_EXPRESSION: Final = re.compile(r"^at \d+\(\d+\): invalid regex .* \(in regex\): ")
_MAX_LENGTH: Final = 300


def refusal(grammar: Grammar, what: str) -> str:
    """A complaint of our own, behind the name of what was given."""
    return f"{_NOUNS[grammar.kind]} {what}"


def explain(grammar: Grammar, complaint: str) -> str:
    """One line that says what to change.

    Args:
        grammar: What was to be compiled.
        complaint: The library's words; several lines, some of which draw the place.
    """
    if complaint.startswith("NoExtension"):
        return refusal(grammar, "that no text matches")
    for pattern, wording in _WORDINGS:
        if (match := pattern.search(complaint)) is not None:
            return refusal(grammar, wording(grammar, match))
    if _TOO_LARGE.search(complaint):
        return refusal(grammar, "that is too large; make it smaller, or its repeats shorter")
    line = _PLACE_OF_EXPRESSION.sub("", _one_line(complaint))
    if grammar.kind is GrammarKind.JSON_SCHEMA and "regex" in line:
        return refusal(grammar, f"with a 'pattern' that cannot be used: {line}")
    return refusal(grammar, f"that cannot be used: {line}")


def _one_line(complaint: str) -> str:
    """The library's words without its drawing, and without where it put our text in its own."""
    lines = [line.strip() for line in complaint.splitlines()]
    # Behind the first line come the source, a line of carets and, for expressions, the reason.
    reasons = [line.removeprefix("error: ") for line in lines[1:] if line.startswith("error: ")]
    text = "; ".join([lines[0].removesuffix(":"), *reasons]) if lines else complaint
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "..."


def _keyword(grammar: Grammar, match: re.Match[str]) -> str:
    keyword = match[1]
    return (
        f"that uses '{keyword}'{_at(grammar, keyword)}, which cannot be enforced; leave it out, or "
        "set 'strict' to false to have it passed over"
    )


def _one_of(grammar: Grammar, match: re.Match[str]) -> str:
    return (
        f"that uses 'oneOf'{_at(grammar, 'oneOf')} with alternatives that may overlap, which cannot "
        "be enforced; use 'anyOf', or give each alternative a property with a 'const' of its own"
    )


def _format(grammar: Grammar, match: re.Match[str]) -> str:
    name = match[1].strip()
    return (
        f"that uses 'format' with {name!r}{_at(grammar, 'format', name)}, which cannot be enforced; "
        "use 'pattern', or set 'strict' to false to have it passed over"
    )


def _reference(grammar: Grammar, match: re.Match[str]) -> str:
    return f"whose '$ref' to {match[1]!r} leads nowhere; only what the schema itself holds is found"


def _unsatisfiable(grammar: Grammar, match: re.Match[str]) -> str:
    return f"that nothing fulfils: {_one_line(match[1])}"


def _at(grammar: Grammar, keyword: str, value: object = None) -> str:
    place = place_of(grammar.source, keyword, value)
    return f" (at {place})" if place else ""


_WORDINGS: Final[list[tuple[re.Pattern[str], Callable[[Grammar, re.Match[str]], str]]]] = [
    (re.compile(r'Unimplemented keys: \["([^"]+)"'), _keyword),
    (re.compile(r"min/max(P)roperties only supported"), lambda g, m: _count_of_optional()),
    (re.compile(r"oneOf constraints are not supported"), _one_of),
    (re.compile(r"Unknown format: (.*)"), _format),
    (re.compile(r"Resource '([^']*)' is not present"), _reference),
    (re.compile(r"Pointer '([^']*)' does not exist"), _reference),
    (re.compile(r"Failed to generate regex for"), lambda g, m: _bounds()),
    (re.compile(r"Unsatisfiable schema: (.*)", re.DOTALL), _unsatisfiable),
]


def _count_of_optional() -> str:
    return (
        "that uses 'minProperties' or 'maxProperties' with optional properties, which cannot be "
        "enforced; make all of them required, or leave the count out"
    )


def _bounds() -> str:
    return "whose 'minimum' or 'maximum' cannot be enforced; use others, or leave them out"

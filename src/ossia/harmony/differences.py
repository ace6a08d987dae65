"""Where Ossia renders otherwise than the `openai_harmony` package on purpose, and why.

Everything not listed here is rendered token for token as that package (0.0.8) does. Each
difference can be switched back by naming it in the `as_library` of a `Renderer` or of
`load_harmony_encoding`. `docs/harmony_differences.md` shows each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Final

from ossia.errors import RequestError


class Difference(Enum):
    """One intended difference; `INTENDED_DIFFERENCES` explains it."""

    OLD_REASONING = auto()
    UNTYPED_SCHEMAS = auto()
    LITERALS = auto()
    ARRAY_OF_UNION = auto()
    NULLABLE = auto()
    REPEATED_DESCRIPTIONS = auto()
    LINE_BREAKS = auto()
    NAMES = auto()

    @property
    def words(self) -> str:
        """The name as people write it, such as `old-reasoning`."""
        return self.name.lower().replace("_", "-")


INTENDED_DIFFERENCES: Final[Mapping[Difference, str]] = {
    Difference.OLD_REASONING: (
        "The format drops the reasoning of every turn that reached its final message and keeps "
        "what came since; the library drops only what stands before the first final message, and "
        "nothing while a tool chain is running. For training the last turn keeps its reasoning, "
        "which the library drops from what is to be learnt."
    ),
    Difference.UNTYPED_SCHEMAS: (
        "anyOf, allOf, $ref, const, enum without a string type, type null, and schemas whose type "
        "is only evident from their properties or items are written as the type they describe; "
        "the library writes any, and ignores what else a schema says beside a list of types. "
        "Alternatives that a schema lists twice are written once."
    ),
    Difference.LITERALS: (
        "Quotes, backslashes and control characters inside enum values, defaults and examples are "
        "escaped as in JSON, and examples that are no strings are shown; the library writes them "
        "raw, so that a value could end its own literal, and leaves such examples out."
    ),
    Difference.ARRAY_OF_UNION: (
        "An array of a union is written (a | b)[]; the library writes a | b[], which says "
        "something else, and ignores nullable items."
    ),
    Difference.NULLABLE: (
        "A nullable type gets its | null even if the word null occurs somewhere inside it."
    ),
    Difference.REPEATED_DESCRIPTIONS: (
        "The description of a nested object is written once, beside its property or variant; the "
        "library writes it a second time in front of the brace."
    ),
    Difference.LINE_BREAKS: (
        "Every line of a description or title is commented, whatever character breaks it; the "
        "library comments only the first line of a property's, which lets the rest pose as code."
    ),
    Difference.NAMES: (
        "Names of tools and authors, recipients and channels that hold white space or brackets "
        "are refused, and content types that hold white space; odd property names are quoted. The "
        "library writes them raw, which lets them forge headers or close a namespace."
    ),
}

NONE: Final[frozenset[Difference]] = frozenset()
"""Render in Ossia's way throughout."""

ALL: Final = frozenset(Difference)
"""Render exactly as the library does."""


def differences_named(names: Iterable[str]) -> frozenset[Difference]:
    """Differences by their names in words, such as `old-reasoning`; `all` is all of them.

    Raises:
        RequestError: there is none of that name.
    """
    known = {difference.words: difference for difference in Difference}
    found: set[Difference] = set()
    for name in names:
        if name != "all" and name not in known:
            raise RequestError(
                f"{name!r} is no difference; known: all, {', '.join(known)}", field="as-library"
            )
        found |= ALL if name == "all" else {known[name]}
    return frozenset(found)

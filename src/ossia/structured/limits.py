"""How large and how costly a grammar may be: one hostile request must not slow down the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypedDict

from ossia.structured.grammar import GrammarKind


class LibraryLimits(TypedDict):
    """Arguments of `llguidance.LLParserLimits`, which is not loaded for the sake of numbers."""

    max_items_in_row: int
    step_max_items: int
    initial_lexer_fuel: int
    step_lexer_fuel: int
    max_lexer_states: int
    max_grammar_size: int
    verbose_errors: bool


MAX_SOURCE_BYTES: Final[Mapping[GrammarKind, int]] = {
    GrammarKind.JSON_SCHEMA: 2**20,
    GrammarKind.JSON_OBJECT: 0,
    GrammarKind.REGEX: 2**16,
    GrammarKind.LARK: 2**18,
}
"""Of the text as UTF-8."""

MAX_SCHEMA_DEPTH: Final = 100
"""Of JSON in JSON; the library's reader ends at 128 with its own wrapping around it."""

MAX_WHITESPACE: Final = 100
"""Characters between two parts of a JSON text; an indented text of 24 levels has as many."""

MAX_MULTIPLE: Final = 10_000
"""Of `multipleOf` without its decimal point: it becomes an automaton of so many states."""

COMPILE_SECONDS: Final = 5.0
"""That a request waits for its grammars; all that the other limits let through take less than 1."""

FIRST_MASK_SECONDS: Final = 0.02
"""Of processor time for the set of tokens at the begin of a text; 0.0001 is usual."""

MASK_CREDIT_SECONDS: Final = 1.0
MASK_SECONDS_A_TOKEN: Final = 0.01
"""A text may take its credit and so much for each token, in processor time."""

CACHE_BYTES: Final = 2**28
"""Of compiled grammars that are kept, as `CompiledGrammar.num_bytes` estimates them."""

PARSER_LIMITS: Final = LibraryLimits(
    max_items_in_row=20_000,  # 2,000 by default, which 500 optional properties exceed
    step_max_items=200_000,  # about 10 ms
    initial_lexer_fuel=1_000_000,  # about 20 ms
    step_lexer_fuel=200_000,  # about 14 ms
    max_lexer_states=50_000,  # 1 to 2 kB each
    max_grammar_size=500_000,
    verbose_errors=False,
)
"""Of llguidance, which counts work instead of time, so that limits do not depend on the machine."""

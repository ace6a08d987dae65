"""What a text must look like: grammars as data, and as masks over the next token.

The data is here. What compiles it, `compiling`, loads a library that takes a quarter of a second,
and is imported by whoever masks.
"""

from ossia.structured.grammar import Grammar, GrammarKind

__all__ = ["Grammar", "GrammarKind"]

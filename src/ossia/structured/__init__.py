"""What a text must look like: grammars as data, and as masks over the next token."""

from ossia.structured.grammar import Grammar, GrammarKind

__all__ = ["Grammar", "GrammarKind"]

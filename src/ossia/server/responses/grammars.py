"""Schemas of requests as grammars."""

from __future__ import annotations

from typing import Any

import orjson

from ossia.structured import Grammar, GrammarKind


def schema_grammar(schema: dict[str, Any]) -> Grammar:
    """JSON of a schema."""
    return Grammar(GrammarKind.JSON_SCHEMA, orjson.dumps(schema).decode())


def object_grammar() -> Grammar:
    """Any JSON object."""
    return Grammar(GrammarKind.JSON_OBJECT)

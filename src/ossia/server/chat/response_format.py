"""`response_format`: the grammar that holds the answer, and the words that tell the model of it."""

from __future__ import annotations

import orjson

from ossia.server.answer_format import VERBOSITY, schema_section
from ossia.server.api_error import ApiError
from ossia.server.chat.schemas import ChatRequest, ResponseFormat
from ossia.structured import Grammar, GrammarKind

_PATH = "response_format"


def answer_grammar(wanted: ResponseFormat | None) -> Grammar | None:
    """What the answer must look like; None if it is free.

    Raises:
        ApiError: the member that its type needs is missing.
    """
    match wanted.type if wanted is not None else "text":
        case "text":
            return None
        case "json_object":
            return Grammar(GrammarKind.JSON_OBJECT)
    assert wanted is not None
    if wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise _missing("json_schema")
        schema = wanted.json_schema.schema_
        if schema is None:
            return Grammar(GrammarKind.JSON_OBJECT)
        return Grammar(GrammarKind.JSON_SCHEMA, orjson.dumps(schema).decode())
    if wanted.type == "regex":
        if wanted.pattern is None:
            raise _missing("pattern")
        return Grammar(GrammarKind.REGEX, wanted.pattern)
    if wanted.grammar is None:
        raise _missing("grammar")
    kind = GrammarKind.LARK if wanted.grammar.syntax == "lark" else GrammarKind.REGEX
    return Grammar(kind, wanted.grammar.definition)


def developer_sections(body: ChatRequest) -> list[str]:
    """What is added to the developer's instructions."""
    sections: list[str] = []
    wanted = body.response_format.json_schema if body.response_format is not None else None
    if wanted is not None and wanted.schema_ is not None:
        sections.append(schema_section(wanted.name, wanted.description, wanted.schema_))
    if body.verbosity in VERBOSITY:
        sections.append(VERBOSITY[body.verbosity])
    return sections


def _missing(name: str) -> ApiError:
    path = f"{_PATH}.{name}"
    return ApiError(
        f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )

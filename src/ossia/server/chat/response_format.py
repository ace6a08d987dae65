"""`response_format`: the grammar that holds the answer, and the words that tell the model of it."""

from __future__ import annotations

from ossia.server.answer_format import VERBOSITY, schema_section
from ossia.server.api_error import ApiError
from ossia.server.chat.schemas import ChatRequest, ResponseFormat
from ossia.structured import Grammar

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
            return Grammar.json_object(field=_PATH)
    assert wanted is not None
    if wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise _missing("json_schema")
        path = f"{_PATH}.json_schema.schema"
        given = wanted.json_schema
        return Grammar.json_schema(given.schema_, strict=bool(given.strict), field=path)
    if wanted.type == "regex":
        if wanted.pattern is None:
            raise _missing("pattern")
        return Grammar.regex(wanted.pattern, field=f"{_PATH}.pattern")
    if wanted.grammar is None:
        raise _missing("grammar")
    make = Grammar.lark if wanted.grammar.syntax == "lark" else Grammar.regex
    return make(wanted.grammar.definition, field=f"{_PATH}.grammar.definition")


def developer_sections(body: ChatRequest) -> list[str]:
    """What is added to the developer's instructions."""
    sections: list[str] = []
    wanted = body.response_format.json_schema if body.response_format is not None else None
    if wanted is not None:
        sections.append(schema_section(wanted.name, wanted.description, wanted.schema_))
    if body.verbosity in VERBOSITY:
        sections.append(VERBOSITY[body.verbosity])
    return sections


def _missing(name: str) -> ApiError:
    path = f"{_PATH}.{name}"
    return ApiError(
        f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )

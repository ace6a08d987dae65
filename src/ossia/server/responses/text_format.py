"""What `text` asks of the answer: a grammar that holds it, and words that tell the model of it."""

from __future__ import annotations

from ossia.server.answer_format import VERBOSITY, schema_section
from ossia.server.responses.schemas import JsonObjectFormat, JsonSchemaFormat, TextParam
from ossia.structured import Grammar


def answer_grammar(text: TextParam | None) -> Grammar | None:
    """What the answer must look like; None if it is free."""
    match text.format if text is not None else None:
        case JsonSchemaFormat(schema_=schema, strict=strict):
            return Grammar.json_schema(schema, strict=bool(strict), field="text.format.schema")
        case JsonObjectFormat():
            return Grammar.json_object(field="text.format")
        case _:
            return None


def developer_sections(text: TextParam | None) -> list[str]:
    """What the developer message says of it, in the sections that harmony has for such."""
    if text is None:
        return []
    sections: list[str] = []
    if isinstance(text.format, JsonSchemaFormat):
        given = text.format
        sections.append(schema_section(given.name, given.description, given.schema_))
    if text.verbosity in VERBOSITY:
        sections.append(VERBOSITY[text.verbosity])
    return sections


def text_echo(text: TextParam | None) -> dict[str, object]:
    """As the response object shows it."""
    echo: dict[str, object] = {"format": {"type": "text"}}
    if text is None:
        return echo
    if isinstance(text.format, JsonSchemaFormat):
        given = text.format
        echo["format"] = {
            "type": "json_schema",
            "name": given.name,
            "description": given.description,
            "schema": given.schema_,
            "strict": given.strict,
        }
    elif text.format is not None:
        echo["format"] = {"type": text.format.type}
    if text.verbosity is not None:
        echo["verbosity"] = text.verbosity
    return echo

"""What JSON schemas look like to the model where Ossia says more than the library."""

from __future__ import annotations

from typing import Any

import pytest

from ossia.errors import HarmonyError
from ossia.harmony.differences import NONE
from ossia.harmony.json_value import compact
from ossia.harmony.typescript import TypeWriter


def _written(schema: Any) -> str:
    return TypeWriter(schema, NONE).write(schema)


TYPES = {
    "anyOf on one line": (
        {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}, {"type": "number"}]},
        "string | number | null",
    ),
    "anyOf of objects": (
        {"anyOf": [{"properties": {"a": {"type": "string"}}}, {"type": "null"}]},
        "\n | {\n   a?: string,\n   }\n | null",
    ),
    "allOf": (
        {"allOf": [{"type": "string"}, {"enum": ["a", "b"]}]},
        'string & ("a" | "b")',
    ),
    "const": ({"const": {"a": [1, None]}}, '{"a":[1,null]}'),
    "mixed enum": ({"enum": ["a", 1, True, None, "a"]}, '"a" | 1 | true | null'),
    "array of an enum": (
        {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        '("a" | "b")[]',
    ),
    "array of oneOf": (
        {"items": {"oneOf": [{"type": "string", "description": "s"}, {"type": "number"}]}},
        "(\n | string // s\n | number\n)[]",
    ),
    "reference": (
        {"$defs": {"p": {"type": "number"}}, "type": "array", "items": {"$ref": "#/$defs/p"}},
        "number[]",
    ),
    "escaped reference": (
        {"$defs": {"a/b c": {"type": "number"}}, "items": {"$ref": "#/$defs/a~1b%20c"}},
        "number[]",
    ),
    "reference to nothing": ({"items": {"$ref": "#/$defs/x"}}, "any[]"),
    "reference elsewhere": ({"items": {"$ref": "https://example.org/x.json"}}, "any[]"),
    "reference into itself": (
        {"properties": {"next": {"$ref": "#"}}},
        "{\nnext?: {\n    next?: any,\n    },\n}",
    ),
    "references in a ring": (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "any",
    ),
    "pydantic's optional model": (
        {
            "$defs": {"P": {"properties": {"x": {"type": "number"}}, "description": "A point."}},
            "properties": {
                "p": {"anyOf": [{"$ref": "#/$defs/P"}, {"type": "null"}], "default": None}
            },
        },
        "{\n// default: null\np?:\n |    // A point.\n{\n   x?: number,\n   }\n | null\n,\n}",
    ),
    "true": (True, "any"),
}


@pytest.mark.parametrize("case", TYPES)
def test_types(case: str) -> None:
    schema, expected = TYPES[case]
    assert _written(schema) == expected


def test_references_cannot_blow_up() -> None:
    """Forty doublings would be a terabyte."""
    definitions = {
        f"d{level}": {
            "properties": {name: {"$ref": f"#/$defs/d{level + 1}"} for name in ("left", "right")}
        }
        for level in range(40)
    }
    assert len(_written({"$defs": definitions, "$ref": "#/$defs/d0"})) < 1_000_000


def test_depth_is_limited() -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    with pytest.raises(HarmonyError, match="nested more than 64 deep"):
        _written(schema)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "0.00001"),
        (1.25e-6, "1.25e-6"),
        (-1e21, "-1e21"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e16"),
        (2**64, "1.8446744073709552e19"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        ({"a": [1, 2.0], "é\n": None}, '{"a":[1,2.0],"é\\n":null}'),
    ],
)
def test_json_is_written_as_serde_writes_it(value: Any, text: str) -> None:
    assert compact(value) == text

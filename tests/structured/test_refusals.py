"""What cannot be enforced is refused in one line that says what it is and what to do."""

from __future__ import annotations

import json

import pytest

from ossia.errors import RequestError
from ossia.structured import Grammar, repeats
from ossia.structured.cache import GrammarCache


def _nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def _within(schema: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


SCHEMAS = [
    ({"properties": {"a": {"not": {}}}}, r"uses 'not' \(at #/properties/a\).*leave it out"),
    ({"items": {"uniqueItems": True}}, r"uses 'uniqueItems' \(at #/items\)"),
    ({"anyOf": [{"if": {}, "then": {}}]}, r"uses 'if' \(at #/anyOf/0\)"),
    ({"type": "object", "propertyNames": {"pattern": "a"}}, "uses 'propertyNames'"),
    ({"type": "array", "contains": {}}, "uses 'contains'"),
    ({"type": "object", "dependentRequired": {}}, "uses 'dependentRequired'"),
    ({"type": "object", "unevaluatedProperties": False}, "uses 'unevaluatedProperties'"),
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "uses 'oneOf'.*use 'anyOf'"),
    ({"type": "string", "format": "color"}, r"'format' with 'color' \(at #\)"),
    ({"$ref": "http://example.com/a"}, "'http://example.com/a' leads nowhere"),
    ({"$ref": "#/$defs/a"}, "'/\\$defs/a' leads nowhere"),
    ({"type": "object", "minProperties": 2}, "uses 'minProperties'.*list them in 'required'"),
    (
        {"type": "object", "properties": {"a": {}}, "required": [], "maxProperties": 3},
        "uses 'minProperties' or 'maxProperties' with optional",
    ),
    ({"type": "integer", "multipleOf": 100_003}, "'multipleOf'.*10,000 is the most"),
    ({"type": "number", "multipleOf": 0.12345}, "'multipleOf'.*10,000 is the most"),
    (
        {"allOf": [{"type": "integer", "multipleOf": 997}, {"multipleOf": 991}]},
        "'multipleOf' have more than 10,000",
    ),
    ({"type": "string", "pattern": "("}, "a 'pattern' that cannot be used: .*unclosed group"),
    ({"type": "string", "pattern": r"a\b"}, "a 'pattern' that cannot be used: lookarounds"),
    (
        _within({"type": "string", "pattern": "^(a{1000}){1000}$"}),
        r"a 'pattern' \(at #/properties/a\) that takes too long for each token; make it smaller",
    ),
    (_within({"type": "string", "pattern": "^(a{300}){300}$"}), "takes too long for each token"),
    (
        _within({"type": "string", "pattern": "^((a{1,200}){1,200}){1,200}$"}),
        "takes too long for each token",
    ),
    (
        {"type": "object", "patternProperties": {"^(a{500}){500}$": {"type": "string"}}},
        r"\(at #/patternProperties\) that takes too long",
    ),
    ({"type": "string", "minLength": 3, "maxLength": 1}, "that nothing fulfils"),
    ({"enum": []}, "that nothing fulfils"),
    ({"type": "colour"}, "cannot be used: Invalid type: colour"),
    (_nested(101), "nested more than 100 levels deep"),
    ({"enum": [f"value {number * 7919}" for number in range(60_000)]}, "more than 1,048,576 bytes"),
    (
        {"allOf": [{"anyOf": [{"required": [f"{a}{b}"]} for b in "01"]} for a in range(14)]},
        "too large",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "complaint"), SCHEMAS, ids=[str(one[1])[:40] for one in SCHEMAS]
)
def test_schemas(cache: GrammarCache, schema: dict[str, object], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint) as caught:
        cache.compiled(Grammar.json_schema(schema, field="text.format.schema"))
    assert caught.value.field == "text.format.schema"
    assert str(caught.value).startswith("text.format.schema: a schema ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["^(a{100}){100}$", "^[a-z]{100000}$", "^(.{1,100},){1,100}$"])
def test_repeats_that_can_be_borne(cache: GrammarCache, pattern: str) -> None:
    cache.compiled(Grammar.json_schema(_within({"type": "string", "pattern": pattern})))


def test_counts_are_multiplied_as_far_as_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern may name a hundred thousand; their product would have a million digits."""
    read: list[int] = []

    class _Number(int):
        def __new__(cls, text: str) -> int:  # type: ignore[misc]
            read.append(len(text))
            return int(text)

    monkeypatch.setattr(repeats, "int", _Number, raising=False)
    assert repeats._repeats_much("[" + "{999999999}" * 90_000 + "]")
    assert read == [9]
    assert not repeats._repeats_much("a{3}{4,}{,5}{x}" + "{1}" * 1000)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("[", "that is no JSON"),
        ('{"const": NaN}', "that is no JSON: NaN"),
        ("17", "neither an object nor a boolean"),
        ("[" * 100_000, "nested more than 100 levels"),
        ('{"const": "\ud800"}', "half a surrogate pair"),
    ],
)
def test_what_is_no_schema(cache: GrammarCache, source: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        cache.compiled(Grammar.json_schema(source))


@pytest.mark.parametrize(
    ("grammar", "complaint"),
    [
        (Grammar.regex("("), "a regular expression that cannot be used: .*unclosed group"),
        (Grammar.regex(r"(a)\1"), "backreferences are not supported"),
        (Grammar.regex(r"[^\s\S]"), "a regular expression that no text matches"),
        (Grammar.regex("a" * 70_000), "of more than 65,536 bytes"),
        (Grammar.regex("(ab{1000}c){300}"), "takes too long|too large"),
        (Grammar.lark("start: other"), 'a grammar that cannot be used: .*unknown name: "other"'),
        (Grammar.lark('start: "a" <|end|>'), r"names the token <\|end\|>"),
        (Grammar.lark('start: "a" <[200007]>'), r"names the token <\[200007\]>"),
        (Grammar.lark('start: "a" <[^5]>'), "names the token"),
        (Grammar.lark('start: %json {"multipleOf": 99999}'), "holds a schema"),
        (Grammar.lark("start: " + "(" * 3000 + '"a"' + ")" * 3000), "nested"),
        (Grammar.lark('start: a\na: a "x"'), "that no text matches"),
    ],
)
def test_expressions_and_grammars(cache: GrammarCache, grammar: Grammar, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        cache.compiled(grammar)


def test_choices_from_nothing() -> None:
    with pytest.raises(RequestError, match="nothing to choose from"):
        Grammar.choice([])


def test_objects_that_are_no_json() -> None:
    with pytest.raises(RequestError, match="a schema that is no JSON"):
        Grammar.json_schema({"const": object()})


@pytest.mark.parametrize("schema", [one[0] for one in SCHEMAS[:10] if "$ref" not in one[0]])
def test_what_is_not_strict_passes_over_what_cannot_be_enforced(
    cache: GrammarCache, schema: dict[str, object]
) -> None:
    cache.compiled(Grammar.json_schema(schema, strict=False))


def test_each_field_that_holds_the_same_grammar_is_named(cache: GrammarCache) -> None:
    for field in ("one", "two"):
        with pytest.raises(RequestError, match=f"^{field}: a schema that uses 'not'"):
            cache.compiled(Grammar.json_schema({"not": {}}, field=field))


def test_a_grammar_travels_as_json() -> None:
    grammar = Grammar.json_schema({"type": "string"}, strict=False, field="here")
    copy = Grammar.from_dict(json.loads(json.dumps(grammar.to_dict())))
    assert copy == grammar
    assert copy.field == "here"
    assert Grammar.from_dict({"kind": "json_object", "source": ""}) == Grammar.json_object()

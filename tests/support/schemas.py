"""Schemas at random, of the keywords that can be enforced, and whether a text fulfils one."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import jsonschema

Schema = dict[str, Any]
_WORDS = ["name", "id", "größe", "a b", "x", "items", "$ref", "enum", 'quote"d', "tail\\"]
_PATTERNS = [r"^[a-z]{2,5}$", r"^\d{3}-\d{4}$", r"[A-F0-9]{4}", r"^(foo|bar)+$", r"^v\d+(\.\d+)?$"]
_FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "duration", "hostname"]
_STRICT_ISO = jsonschema.FormatChecker(formats=("uuid", "ipv4", "ipv6", "email"))


@_STRICT_ISO.checks("date")
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or (len(value) == 10 and _is_date_time(f"{value}T00:00:00Z"))


@_STRICT_ISO.checks("date-time")
def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    # Leap seconds and the year 0 are in RFC 3339, though not in Python.
    known = value.upper().replace(":60", ":59").replace("0000-", "2000-", 1)
    try:
        datetime.datetime.fromisoformat(known)
    except ValueError:
        return False
    return "T" in value.upper() and (value[-1] in "zZ" or value[-6] in "+-")


def random_schema(random: Random, keywords: set[str] | None = None) -> Schema:
    """A schema with nested parts; `keywords` gets the names of what it uses."""
    maker = _Maker(random)
    schema = maker.any(3)
    if maker.definitions:
        schema = {**schema, "$defs": maker.definitions}
    if keywords is not None:
        keywords |= maker.used
    return schema


def random_object(random: Random, keywords: set[str] | None = None) -> Schema:
    """A schema of objects, as arguments of a function have."""
    maker = _Maker(random)
    schema = maker.object(3)
    if maker.definitions:
        schema["$defs"] = maker.definitions
    if keywords is not None:
        keywords |= maker.used
    return schema


def complaint(schema: Schema | bool, text: str) -> str | None:
    """Why a text does not fulfil a schema; None if it does."""
    exact = json.loads(json.dumps(schema), parse_float=Decimal)
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        return f"no JSON: {error}"
    validator = jsonschema.Draft202012Validator(exact, format_checker=_STRICT_ISO)
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    return None if error is None else f"{error.json_path}: {error.message}"


class _Maker:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.definitions: Schema = {}
        self.used: set[str] = set()

    def any(self, depth: int) -> Schema:
        leaves: list[Callable[[], Schema]] = [
            self.string, self.string, self.integer, self.number, self.enum, self.const, self.simple,
        ]  # fmt: skip
        nested: list[Callable[[], Schema]] = [
            lambda: self.object(depth),
            lambda: self.object(depth),
            lambda: self.array(depth),
            lambda: self.tuple(depth),
            lambda: self.any_of(depth),
            lambda: self.one_of(depth),
            lambda: self.all_of(depth),
            lambda: self.reference(depth),
            lambda: self.recursive(depth),
        ]
        chance = self.random.random()
        return self.random.choice(nested if depth > 0 and chance < 0.7 else leaves)()

    def note(self, schema: Schema) -> Schema:
        self.used |= schema.keys()
        return schema

    def maybe(self, **values: object) -> Schema:
        return {name: value for name, value in values.items() if self.random.random() < 0.5}

    def string(self) -> Schema:
        kind = self.random.random()
        schema: Schema = {"type": "string"}
        if kind < 0.3:
            return self.note(schema | {"pattern": self.random.choice(_PATTERNS)})
        if kind < 0.6:
            return self.note(schema | {"format": self.random.choice(_FORMATS)})
        least = self.random.randint(0, 4)
        limits = {"minLength": least, "maxLength": least + self.random.randint(0, 12)}
        return self.note(schema | self.maybe(minLength=least) | {"maxLength": limits["maxLength"]})

    def integer(self) -> Schema:
        least = self.random.randint(-1000, 1000)
        step = self.random.choice([2, 5, 7, 10])
        schema: Schema = {"type": "integer"}
        if self.random.random() < 0.5:
            schema |= {"minimum": least, "maximum": least + self.random.randint(20, 10_000)}
        elif self.random.random() < 0.5:
            schema |= {"exclusiveMinimum": least, "exclusiveMaximum": least + 50}
        return self.note(schema | self.maybe(multipleOf=step))

    def number(self) -> Schema:
        least = round(self.random.uniform(-10, 10), 2)
        schema: Schema = {"type": "number"}
        if self.random.random() < 0.6:
            schema |= {"minimum": least, "maximum": least + self.random.choice([1, 2.5, 1000])}
        elif self.random.random() < 0.5:
            schema |= {"exclusiveMinimum": least, "multipleOf": 0.25}
        return self.note(schema)

    def enum(self) -> Schema:
        values = ["red", "grün", 'a"b', "line\nbreak", 1, -2.5, None, True, {"k": [1, {}]}, []]
        return self.note({"enum": self.random.sample(values, self.random.randint(1, 5))})

    def const(self) -> Schema:
        return self.note(
            {"const": self.random.choice(["", "é", 0, 1.5, None, False, [1], {"a": 1}])}
        )

    def simple(self) -> Schema:
        kinds = ["null", "boolean", "integer"]
        chosen = self.random.sample(kinds, self.random.randint(1, 3))
        return self.note({"type": chosen if len(chosen) > 1 else chosen[0]})

    def object(self, depth: int) -> Schema:
        names = self.random.sample(_WORDS, self.random.randint(0, 4))
        schema: Schema = {"type": "object"}
        if names:
            schema["properties"] = {name: self.any(depth - 1) for name in names}
            schema["required"] = [name for name in names if self.random.random() < 0.7]
        extra = self.random.random()
        if extra < 0.6:
            schema["additionalProperties"] = False
        elif extra < 0.8:
            schema["additionalProperties"] = self.any(0)
        elif extra < 0.9 and not names:
            schema |= {"minProperties": 1, "maxProperties": 3, "additionalProperties": self.any(0)}
        elif not names:
            schema["patternProperties"] = {"^k[a-z]{1,3}$": self.any(0)}
            schema["additionalProperties"] = False
        return self.note(schema)

    def array(self, depth: int) -> Schema:
        least = self.random.randint(0, 2)
        limits = self.maybe(minItems=least) | {"maxItems": least + self.random.randint(0, 3)}
        return self.note({"type": "array", "items": self.any(depth - 1)} | limits)

    def tuple(self, depth: int) -> Schema:
        first = [self.any(depth - 1) for _ in range(self.random.randint(1, 3))]
        rest = self.random.choice([{"items": False}, {"items": self.any(0), "maxItems": 4}])
        least = {"minItems": self.random.randint(0, len(first))}
        return self.note({"type": "array", "prefixItems": first} | rest | least)

    def any_of(self, depth: int) -> Schema:
        return self.note({"anyOf": [self.any(depth - 1) for _ in range(self.random.randint(1, 3))]})

    def one_of(self, depth: int) -> Schema:
        alternatives = [
            {
                "type": "object",
                "properties": {"kind": {"const": kind}, "value": self.any(depth - 1)},
                "required": ["kind", "value"],
                "additionalProperties": False,
            }
            for kind in ("one", "two", "three")[: self.random.randint(1, 3)]
        ]
        return self.note({"oneOf": alternatives})

    def all_of(self, depth: int) -> Schema:
        halves = [
            {"properties": {name: self.any(depth - 1)}, "required": [name]}
            for name in self.random.sample(_WORDS, 2)
        ]
        return self.note({"type": "object", "allOf": halves} | self.maybe(maxProperties=4))

    def reference(self, depth: int) -> Schema:
        name = f"part{len(self.definitions)}"
        self.definitions[name] = {}
        self.definitions[name] = self.any(depth - 1)
        self.used.add("$defs")
        return self.note({"$ref": f"#/$defs/{name}"})

    def recursive(self, depth: int) -> Schema:
        name = f"tree{len(self.definitions)}"
        here = {"$ref": f"#/$defs/{name}"}
        self.definitions[name] = {
            "type": "object",
            "properties": {"value": {}, "next": {"anyOf": [here, {"type": "null"}]}},
            "required": ["value", "next"],
            "additionalProperties": False,
        }
        self.definitions[name]["properties"]["value"] = self.any(min(depth - 1, 1))
        self.used.add("$defs")
        return self.note(here)

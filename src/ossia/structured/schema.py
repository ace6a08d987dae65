"""What is done to a JSON schema before it is compiled: limits, and what the compiler overlooks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, cast
from urllib.parse import unquote

from ossia.structured.bounds import narrow_bounds
from ossia.structured.limits import MAX_MULTIPLE, MAX_SCHEMA_DEPTH

Schema = dict[str, Any]

_ONE: Final = (
    "items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties",
    "contains", "propertyNames", "not", "if", "then", "else", "contentSchema",
)  # fmt: skip
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_MERGING: Final = frozenset({"$ref", "anyOf", "oneOf"})


class SchemaError(ValueError):
    """A schema that cannot be enforced; the message continues 'a schema'."""


def prepare_schema(source: str, *, strict: bool) -> str:
    """A schema as the compiler shall have it.

    Args:
        source: JSON text.
        strict: Whether what cannot be enforced is refused.

    Raises:
        SchemaError: it is no schema, too deep, or has what cannot be enforced.
    """
    root = read_schema(source)
    if root is False:
        raise SchemaError("that nothing fulfils: it is false")
    if root is True:
        return "{}"
    root.pop("x-guidance", None)  # the compiler's own settings are not the caller's to choose
    merges, multiples = False, list[int]()
    for place, schema in subschemas(root):
        if schema.get("uniqueItems") is False:
            del schema["uniqueItems"]  # which says nothing, yet the compiler refuses it
        if strict:
            _check_counts(place, schema)
        _narrow_bounds(place, schema, strict=strict)
        merges |= "allOf" in schema or (not _MERGING.isdisjoint(schema) and len(schema) > 1)
        if (multiple := _multiple(place, schema)) is not None:
            multiples.append(multiple)
    if merges and math.lcm(*multiples) > MAX_MULTIPLE:
        raise SchemaError(
            f"whose values of 'multipleOf' have more than {MAX_MULTIPLE:,} as their common "
            "multiple; use smaller ones, or no 'allOf'"
        )
    return json.dumps(root, ensure_ascii=False)


def read_schema(source: str) -> Schema | bool:
    """JSON text of a schema.

    Raises:
        SchemaError: it is no JSON, no schema, or too deep.
    """
    try:
        root = json.loads(source, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise SchemaError(f"that is no JSON: {error}") from None
    if not isinstance(root, dict | bool):
        raise SchemaError("that is neither an object nor a boolean")
    if _depth(root) > MAX_SCHEMA_DEPTH:
        raise _too_deep()
    return cast("Schema | bool", root)


def subschemas(root: Schema) -> Iterator[tuple[str, Schema]]:
    """A schema and all schemas in it, each with its place, such as `#/properties/a`."""
    waiting: list[tuple[str, object]] = [("#", root)]
    seen = set[int]()  # several references may lead to one, also from within it
    while waiting:
        place, schema = waiting.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        schema = cast("Schema", schema)
        yield place, schema
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):  # wherever that is
            waiting.append((reference, _at(root, reference)))
        for keyword in _ONE:
            waiting.append((f"{place}/{keyword}", schema.get(keyword)))
        for keyword in _LISTS:
            value = schema.get(keyword)
            if isinstance(value, list):
                each = enumerate(cast("list[object]", value))
                waiting += [(f"{place}/{keyword}/{number}", one) for number, one in each]
        for keyword in _MAPS:
            value = schema.get(keyword)
            if isinstance(value, dict):
                items = cast("dict[str, object]", value).items()
                waiting += [(f"{place}/{keyword}/{name}", one) for name, one in items]


def _at(root: Schema, reference: str) -> object:
    """What a pointer (RFC 6901) in a reference leads to; None if nothing."""
    here: object = root
    for step in reference.removeprefix("#/").split("/"):
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict):
            here = cast("dict[str, object]", here).get(name)
        elif isinstance(here, list) and name.isdecimal() and int(name[:9]) < len(here):
            here = cast("list[object]", here)[int(name[:9])]
        else:
            return None
    return here


def place_of(source: str, keyword: str, value: object = None) -> str:
    """Where a schema has a keyword, with a value if one is given; empty if nowhere."""
    try:
        root = read_schema(source)
    except SchemaError:
        return ""
    if isinstance(root, bool):
        return ""
    places = (
        place
        for place, schema in subschemas(root)
        if keyword in schema and value in (None, schema[keyword])
    )
    return min(places, key=len, default="")


def _check_counts(place: str, schema: Schema) -> None:
    """Refuse a least number of properties that only names drawn at random could reach.

    Two of them may be the same name, and a reader keeps one.
    """
    least, required = schema.get("minProperties", 0), schema.get("required", [])
    if not isinstance(least, int) or not isinstance(required, list):
        return  # the compiler says so
    if least > len(set(map(str, cast("list[object]", required)))) + 1:
        raise SchemaError(
            f"that uses 'minProperties' (at {place}) for more than one property besides the "
            "required ones; list them in 'required'"
        )


def _narrow_bounds(place: str, schema: Schema, *, strict: bool) -> None:
    """Have bounds that can be enforced; those that cannot are refused, or passed over."""
    given = dict(schema)
    while (name := narrow_bounds(schema)) is not None:
        if strict:
            raise SchemaError(
                f"that uses '{name}' (at {place}) with {str(given[name])[:40]}, which cannot be enforced: "
                "numbers are written from -9.2e18 to 9.2e18, and to 1e-60 at 0; leave it out, or set "
                "'strict' to false to have it passed over"
            )
        del schema[name]


def _multiple(place: str, schema: Schema) -> int | None:
    """The digits of `multipleOf` as one integer."""
    value = schema.get("multipleOf")
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return None  # the compiler says so
    _, digits, _ = Decimal(str(value)).normalize().as_tuple()
    whole = int("".join(map(str, digits))) if not isinstance(value, int) else value
    if whole > MAX_MULTIPLE:
        raise SchemaError(
            f"that uses 'multipleOf' (at {place}) with {value}; {MAX_MULTIPLE:,} is the most"
        )
    return whole


def _depth(root: object) -> int:
    depth, level = 0, [root]
    while level:
        depth += 1
        level = [child for one in level for child in _children(one)]
    return depth


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def _too_deep() -> SchemaError:
    return SchemaError(f"nested more than {MAX_SCHEMA_DEPTH} levels deep")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

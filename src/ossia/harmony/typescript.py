"""TypeWriter: a JSON schema as the TypeScript-like type that harmony prompts show.

Layout and wording follow the `openai_harmony` package; where it loses or garbles what a schema
says, `differences.py` lists what is written instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ossia.errors import HarmonyError
from ossia.harmony.differences import Difference
from ossia.harmony.json_value import Json
from ossia.harmony.schema_reference import References
from ossia.harmony.schema_wording import SchemaWording

_SIMPLE: Final = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}
_MAX_DEPTH: Final = 64


class _Type(NamedTuple):
    """A type as text, and whether it needs brackets before it can be the item of an array."""

    text: str
    is_union: bool = False


_ANY: Final = _Type("any")


class TypeWriter:
    """Writes the types of one tool.

    Args:
        root: The whole schema, in which `$ref` is looked up.
        as_library: Differences that are switched back to the library's behaviour.
    """

    def __init__(self, root: Json, as_library: frozenset[Difference]) -> None:
        self._as_library = as_library
        self._wording = SchemaWording(as_library)
        self._references = References(root)
        self._depth = 0

    def write(self, schema: Json, indent: str = "") -> str:
        """The type of a schema.

        Args:
            schema: A JSON schema, or part of one.
            indent: What the lines after the first begin with.

        Raises:
            HarmonyError: the schema is nested too deeply.
        """
        return self._type(schema, indent).text

    def _type(self, schema: Json, indent: str, *, described: bool = False) -> _Type:
        """The type of a schema whose description the caller has written, if `described`."""
        if not isinstance(schema, dict):
            return _ANY
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise HarmonyError(f"a tool's schema is nested more than {_MAX_DEPTH} deep")
        try:
            if self._differs(Difference.UNTYPED_SCHEMAS):
                with self._references.opened(schema) as resolved:
                    return self._full_type(resolved, indent, described)
            return self._library_type(schema, indent, described)
        finally:
            self._depth -= 1

    def _library_type(self, schema: dict[str, Json], indent: str, described: bool) -> _Type:
        if isinstance(variants := schema.get("oneOf"), list):
            return _Type(self._variants(variants, indent), is_union=True)
        kind = schema.get("type")
        if isinstance(kind, list) and (names := _names(kind)):
            return _Type(" | ".join(names), len(names) > 1)
        return self._kind(kind, schema, indent, described)

    def _full_type(self, schema: dict[str, Json] | None, indent: str, described: bool) -> _Type:
        if schema is None:
            return _ANY
        if variants := self._listed_variants(schema):
            return _Type(self._variants(variants, indent), is_union=True)
        if literals := _literal_values(schema):
            return _union(self._wording.literal(value) for value in literals)
        if "type" not in schema and isinstance(parts := schema.get("anyOf"), list) and parts:
            return _union(self._member(part, indent) for part in parts)
        if isinstance(parts := schema.get("allOf"), list) and parts:
            return self._intersection(schema, parts, indent, described)
        kind = schema.get("type")
        if isinstance(kind, list) and (names := _names(kind)):
            detailed = {name for name in ("object", "array") if _details(schema, name)}
            return _union(
                self._kind(name, schema, indent, described).text if name in detailed else name
                for name in names
            )
        if kind is None:
            kind = next((name for name in ("object", "array") if _details(schema, name)), None)
        return _Type("null") if kind == "null" else self._kind(kind, schema, indent, described)

    def _kind(self, kind: Json, schema: dict[str, Json], indent: str, described: bool) -> _Type:
        """The type of a schema whose `type` is this one word."""
        if kind == "object":
            return _Type(self._object(schema, indent, described))
        if kind == "array":
            return _Type(self._array(schema, indent))
        if kind == "string" and isinstance(values := schema.get("enum"), list):
            words = [self._wording.literal(value) for value in values if isinstance(value, str)]
            if words:
                return _Type(" | ".join(words), len(words) > 1)
        return _Type(_SIMPLE.get(kind, "any")) if isinstance(kind, str) else _ANY

    def _array(self, schema: dict[str, Json], indent: str) -> str:
        if "items" not in schema:
            return "Array<any>"
        item = self._type(schema["items"], indent)
        if not self._differs(Difference.ARRAY_OF_UNION):
            return f"{item.text}[]"
        item = self._with_null(item, schema["items"])
        if not item.is_union:
            return f"{item.text}[]"
        # A line of variants may end in a comment, which would swallow the bracket.
        end = f"\n{indent}" if "\n" in item.text else ""
        return f"({item.text}{end})[]"

    def _intersection(
        self, schema: dict[str, Json], parts: list[Json], indent: str, described: bool
    ) -> _Type:
        own = {key: value for key, value in schema.items() if key != "allOf"}
        types = [self._type(part, indent, described=described) for part in parts]
        if "type" in own or _details(own, "object"):
            types.append(self._type(own, indent, described=described))
        texts = [f"({each.text})" if each.is_union else each.text for each in types]
        return types[0] if len(types) == 1 else _Type(" & ".join(texts), is_union=True)

    def _object(self, schema: dict[str, Json], indent: str, described: bool) -> str:
        lines: list[str] = []
        repeated = described and self._differs(Difference.REPEATED_DESCRIPTIONS)
        if isinstance(description := schema.get("description"), str) and not repeated:
            lines.append(self._wording.comment(description, indent))
        lines.append("{\n")
        if isinstance(properties := schema.get("properties"), dict):
            required = schema.get("required")
            needed = required if isinstance(required, list) else []
            for name, value in properties.items():
                shown = (
                    f"{indent}{self._wording.property_name(name)}{'' if name in needed else '?'}"
                )
                lines.append(self._property(shown, value, indent))
        return "".join([*lines, f"{indent}}}"])

    def _property(self, name: str, value: Json, indent: str) -> str:
        """One property with its comments, ending in a line break."""
        schema = value if isinstance(value, dict) else {}
        variants = self._listed_variants(schema)
        lines: list[str] = []
        if isinstance(title := schema.get("title"), str):
            lines.append(f"{self._wording.comment(title, indent)}{indent}//\n")
        description = schema.get("description")
        if isinstance(description, str) and not variants:
            lines.append(self._wording.comment(description, indent))
        lines.append(self._wording.examples(schema, indent))
        if variants:
            lines.append(self._property_variants(name, schema, variants, indent))
            return "".join(lines)
        written = self._type(value, indent + "    ", described=isinstance(description, str))
        lines.append(f"{name}: {self._with_null(written, value).text},")
        if "default" in schema:
            lines.append(f" // default: {self._wording.default(schema)}")
        return "".join([*lines, "\n"])

    def _property_variants(
        self, name: str, schema: dict[str, Json], variants: list[Json], indent: str
    ) -> str:
        """A property that is one of several types, each on a line of its own."""
        lines: list[str] = []
        description = schema.get("description")
        first = variants[0].get("description") if isinstance(variants[0], dict) else None
        swallowed = description == first and not self._differs(Difference.REPEATED_DESCRIPTIONS)
        above = isinstance(description, str) and not swallowed
        if isinstance(description, str) and not swallowed:
            lines.append(self._wording.comment(description, indent))
        if "default" in schema:
            lines.append(f"{indent}// default: {self._wording.default(schema)}\n")
        lines.append(f"{name}:\n")
        for position, variant in enumerate(variants):
            own = variant.get("description") if isinstance(variant, dict) else None
            trailing = own if own != description and not (above and position == 0) else None
            said = isinstance(own, str) and own in (description, trailing)
            text = self._variant(variant, indent, trailing, said=said)
            lines.append(f"{indent} | {text}\n")
        return "".join([*lines, f"{indent},\n"])

    def _variants(self, variants: list[Json], indent: str) -> str:
        """Alternatives, each on a line of its own, outside a property."""
        texts: list[str] = []
        for variant in variants:
            description = variant.get("description") if isinstance(variant, dict) else None
            said = isinstance(description, str)
            text = self._variant(variant, indent, description, said=said, quote=True)
            texts.append(f"\n{indent} | {text}")
        return "".join(texts)

    def _variant(
        self, variant: Json, indent: str, comment: Json, *, said: bool, quote: bool = False
    ) -> str:
        written = self._type(variant, indent + "   ", described=said)
        notes: list[str] = []
        if isinstance(comment, str):
            notes.append(self._wording.one_line(comment))
        if isinstance(variant, dict) and "default" in variant:
            notes.append(f"default: {self._wording.default(variant, quote=quote)}")
        text = self._with_null(written, variant).text
        return f"{text} // {' '.join(notes)}" if notes else text

    def _listed_variants(self, schema: dict[str, Json]) -> list[Json]:
        """The alternatives that are written on lines of their own, if there are such."""
        if isinstance(one_of := schema.get("oneOf"), list):
            return one_of
        any_of = schema.get("anyOf")
        if "type" in schema or not isinstance(any_of, list):
            return []
        if not self._differs(Difference.UNTYPED_SCHEMAS):
            return []
        return any_of if any(map(_needs_a_line, any_of)) else []

    def _member(self, schema: Json, indent: str) -> str:
        return self._with_null(self._type(schema, indent), schema).text

    def _with_null(self, written: _Type, schema: Json) -> _Type:
        if not isinstance(schema, dict) or schema.get("nullable") is not True:
            return written
        if self._differs(Difference.NULLABLE):
            has_null = written.text == "null" or written.text.endswith("| null")
        else:
            has_null = "null" in written.text
        return written if has_null else _Type(f"{written.text} | null", is_union=True)

    def _differs(self, difference: Difference) -> bool:
        return difference not in self._as_library


def _union(texts: Iterable[str]) -> _Type:
    """Alternatives on one line, each once."""
    distinct = list(dict.fromkeys(texts))
    return _Type(" | ".join(distinct), len(distinct) > 1)


def _names(kinds: list[Json]) -> list[str]:
    return ["number" if kind == "integer" else kind for kind in kinds if isinstance(kind, str)]


def _details(schema: dict[str, Json], kind: str) -> bool:
    """Whether a schema says what is inside an object or an array."""
    return ("properties" if kind == "object" else "items") in schema


def _literal_values(schema: dict[str, Json]) -> list[Json]:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else []


def _needs_a_line(variant: Json) -> bool:
    """Whether an alternative has comments or lines of its own."""
    if not isinstance(variant, dict):
        return False
    wide = {"description", "default", "properties", "$ref", "oneOf", "anyOf", "allOf"}
    return variant.get("type") == "object" or not wide.isdisjoint(variant)

"""function_schema: a Python function as a tool, from its type hints and its docstring.

The result is that of transformers' `get_json_schema`, so that functions written for it can be
given to chat templates.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from ossia.errors import HarmonyError

Schema = dict[str, Any]

_SCALARS: Final = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    type(None): "null",
}
_PLAIN: Final = {**_SCALARS, list: "array", tuple: "array", dict: "object"}

_HEADING: Final = re.compile(r"Args:|Returns:|Raises:")
_ARGS: Final = re.compile(r"\n\s*Args:\n")
_RETURNS: Final = re.compile(r"\n\s*Returns:\n\s*")
_ARGUMENT: Final = re.compile(r"([ \t]*)(\w+):\s*(.*)")
_CHOICES: Final = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


def function_schema(function: Callable[..., object]) -> Schema:
    """Describe a function as the Chat Completions API takes tools.

    Args:
        function: It needs a docstring in Google's form that says what each argument is, and type
            hints of JSON's types: str, int, float, bool, None, list, dict, tuple, Literal, Enum,
            Any, and unions of them. `(choices: ["a", "b"])` at the end of an argument's
            description lists the only values. A `self` or `cls` without a hint is left out.

    Raises:
        HarmonyError: the docstring, a hint or a description is missing, or a hint is of another
            type; names the function and the argument.
    """
    name = getattr(function, "__name__", "operation")
    doc = (inspect.getdoc(function) or "").strip()
    if not doc:
        raise HarmonyError(f"function {name} needs a docstring to be a tool")
    told = _argument_descriptions(doc)
    hints = _hints(function, name)
    returned = hints.pop("return", None)
    properties: dict[str, Schema] = {}
    for argument, hint in hints.items():
        if argument not in told:
            raise HarmonyError(f"the docstring of function {name} does not describe {argument!r}")
        try:
            schema = _schema(hint)
        except HarmonyError as error:
            raise HarmonyError(f"argument {argument!r} of function {name}: {error}") from None
        properties[argument] = _described(schema, told[argument])
    parameters: Schema = {"type": "object", "properties": properties}
    if required := _required(function, hints):
        parameters["required"] = required
    described: Schema = {
        "name": name,
        "description": _HEADING.split(doc, maxsplit=1)[0].strip(),
        "parameters": parameters,
    }
    if returned is not None and (schema := _return_schema(returned, doc)) is not None:
        described["return"] = schema
    return {"type": "function", "function": described}


def _hints(function: Callable[..., object], name: str) -> dict[str, Any]:
    """Hints by argument, without that of an instance or class."""
    arguments = inspect.signature(function).parameters
    receiver = next(iter(arguments), None)
    for argument, parameter in arguments.items():
        if parameter.annotation is not inspect.Parameter.empty:
            continue
        if argument == receiver and argument in ("self", "cls"):
            continue
        raise HarmonyError(f"argument {argument!r} of function {name} needs a type hint")
    try:
        return get_type_hints(function)
    except NameError as error:
        raise HarmonyError(f"a type hint of function {name} cannot be resolved: {error}") from error


def _required(function: Callable[..., object], hints: dict[str, Any]) -> list[str]:
    arguments = inspect.signature(function).parameters
    return [
        name
        for name in arguments
        if name in hints and arguments[name].default is inspect.Parameter.empty
    ]


def _described(schema: Schema, description: str) -> Schema:
    if match := _CHOICES.search(description):
        try:
            choices: list[Any] = json.loads(match[1])
        except json.JSONDecodeError as error:
            raise HarmonyError(f"the choices {match[1]!r} are no JSON list: {error}") from error
        schema["enum"] = [each.strip() if isinstance(each, str) else each for each in choices]
        description = description[: match.start()].strip()
    return {**schema, "description": description}


def _return_schema(hint: object, doc: str) -> Schema | None:
    """What the function gives; None where JSON has no type for it, since no model writes it."""
    try:
        schema = _schema(hint)
    except HarmonyError:
        return None
    _, *told = _RETURNS.split(doc, maxsplit=1)
    if told:
        schema["description"] = told[0].split("Raises:", maxsplit=1)[0].strip()
    return schema


def _argument_descriptions(doc: str) -> dict[str, str]:
    """The arguments of a docstring; what is indented deeper than a name goes on describing it."""
    _, *block = _ARGS.split(doc, maxsplit=1)
    lines = re.split(r"Returns:|Raises:", block[0], maxsplit=1)[0].split("\n") if block else []
    found: dict[str, list[str]] = {}
    name, indent = "", ""
    for line in filter(str.strip, lines):
        match = _ARGUMENT.match(line)
        if match and not (name and line.startswith((indent + " ", indent + "\t"))):
            indent, name = match[1], match[2]
            found[name] = [match[3].strip()]
        elif name:
            found[name].append(line.strip())
    return {name: " ".join(filter(None, texts)) for name, texts in found.items()}


def _schema(hint: Any) -> Schema:  # noqa: ANN401  (a type hint can be anything)
    """The JSON schema of a type hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is None:
        return _bare(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        return _listed(arguments)
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is tuple:
        if ... in arguments or len(arguments) < 2:
            raise HarmonyError(f"{hint} is no tuple of fixed length; use list")
        return {"type": "array", "prefixItems": [_schema(each) for each in arguments]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    raise HarmonyError(f"JSON has no type for {hint}")


def _bare(hint: Any) -> Schema:  # noqa: ANN401  (as above)
    if hint is Any:
        return {}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _listed([member.value for member in hint])
    if isinstance(hint, type) and hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    raise HarmonyError(f"JSON has no type for {hint!r}")


def _union(alternatives: Sequence[Any]) -> Schema:
    parts = [_schema(each) for each in alternatives if each is not type(None)]
    if len(parts) == 1:
        schema = parts[0]
    elif all(part.keys() == {"type"} and isinstance(part["type"], str) for part in parts):
        names = sorted({part["type"] for part in parts})
        schema: Schema = {"type": names[0] if len(names) == 1 else names}
    else:
        schema = {"anyOf": parts}
    if type(None) in alternatives:
        schema["nullable"] = True
    return schema


def _listed(values: Sequence[Any]) -> Schema:
    if not values or any(type(value) not in _SCALARS for value in values):
        raise HarmonyError(f"{list(values)} is no list of strings, numbers, booleans or None")
    kinds = list(dict.fromkeys(_SCALARS[type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(values)}

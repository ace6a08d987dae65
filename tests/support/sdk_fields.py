"""What the types of SDKs let a client send: names of fields, kinds of members of unions."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typing_extensions

_QUALIFIERS = {
    Annotated,
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
}
_LISTS = {list, Iterable}  # what get_origin gives for typing.List and typing.Iterable, too


def fields(typed_dict: Any) -> dict[str, Any]:
    """The fields of a TypedDict with what each may be."""
    return get_type_hints(typed_dict, include_extras=True)


def members(annotation: Any) -> list[Any]:
    """All that a value may be: members of unions within unions, and of lists."""
    if get_origin(annotation) in _QUALIFIERS:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [one for part in get_args(annotation) for one in members(part)]
    if get_origin(annotation) in _LISTS:
        return members(get_args(annotation)[0])
    return [annotation]


def kinds(annotation: Any, tag: str = "type") -> dict[str, set[str]]:
    """The fields of the objects that a value may be, by what they have as `type`."""
    found: dict[str, set[str]] = {}
    for member in members(annotation):
        if not typing_extensions.is_typeddict(member):
            continue
        names = set(fields(member))
        for literal in members(fields(member).get(tag, Any)):
            if get_origin(literal) is Literal:
                for kind in get_args(literal):
                    found.setdefault(kind, set()).update(names)
    return found

"""The sandbox in which chat templates run, and the plain data that is all they see.

Templates come with downloads and are not trusted. Names and filters are those that transformers
gives them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, cast

from jinja2 import TemplateError, nodes
from jinja2.environment import Environment
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_Names = dict[str, Callable[..., object]]


def sandbox(
    now: Callable[[], datetime], marks: tuple[str, str] | None = None
) -> ImmutableSandboxedEnvironment:
    """An environment that compiles templates.

    Args:
        now: Tells the time to templates that ask for the date.
        marks: What to write before and behind each `{% generation %}` block; None writes nothing.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.extend(generation_marks=marks)
    filters = cast("_Names", environment.filters)  # pyright: ignore[reportUnknownMemberType]
    names = cast("_Names", environment.globals)  # pyright: ignore[reportUnknownMemberType]
    filters["tojson"] = _tojson
    names["raise_exception"] = _raise_exception
    names["strftime_now"] = partial(_strftime, now)
    names["namespace"] = _PublicNamespace
    return environment


def plain_data(value: object) -> object:
    """A copy made of JSON types alone; an object of another type becomes a word for it."""
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            items = cast("Mapping[object, object]", value).items()
            return {plain_data(key): plain_data(item) for key, item in items}
        case list() | tuple():
            plain = map(plain_data, cast("Sequence[object]", value))
            return tuple(plain) if isinstance(value, tuple) else list(plain)
        case _:
            return _plain_object(value)


def _plain_object(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain_data(getattr(value, field.name)) for field in fields}
    if callable(dump := getattr(value, "model_dump", None)):  # pydantic's models
        return plain_data(dump())
    if callable(item := getattr(value, "item", None)) and getattr(value, "shape", None) == ():
        return plain_data(item())  # a number of numpy
    return f"<{type(value).__name__}>"


class _Generation(Extension):
    """`{% generation %}` marks what an assistant wrote; the text passes through."""

    tags = {"generation"}  # noqa: RUF012  (declared so by Jinja)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._environment: Any = environment

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        marks: tuple[str, str] | None = self._environment.generation_marks
        if marks is None:
            return body
        begin, end = (nodes.Output([nodes.TemplateData(mark)], lineno=line) for mark in marks)
        return [begin, *body, end]


class _PublicNamespace(Namespace):
    """A namespace without private names, which could reach into the interpreter."""

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (as dict takes)
        initial = dict[str, Any](*args, **kwargs)
        for name in initial:
            _check_public(name)
        super().__init__(initial)

    def __setitem__(self, name: str, value: object) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a chat template may not set {name!r} on a namespace")


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime(now: Callable[[], datetime], pattern: str) -> str:
    return now().strftime(pattern)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)

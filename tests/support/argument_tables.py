"""What transformers' functions take by name, and what every table of arguments is held to."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ossia.api.argument_table import Argument, ArgumentTable
from ossia.errors import RequestError

ROOT = Path(__file__).parents[2]
_TAKES = ("pop", "get")


def signature_names(function: Callable[..., Any]) -> set[str]:
    """The named arguments of a signature, and those that a bare star takes."""
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("self", "cls") and parameter.kind is not parameter.VAR_KEYWORD
    }


def keyword_names(function: Callable[..., Any], holders: Iterable[str] = ("kwargs",)) -> set[str]:
    """What a function takes out of its keyword arguments, read from its source; nothing private.

    Sees `kwargs.pop("x")`, `kwargs.get("x")`, `kwargs["x"]`, `"x" in kwargs`, and lists of names
    that are gone through to take each of them out.

    Args:
        function: Of transformers.
        holders: Variables that hold keyword arguments.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found: set[str] = set()
    for node in ast.walk(tree):
        found |= _taken_by(node, frozenset(holders))
    return {name for name in found if not name.startswith("_")}


def refused(table: ArgumentTable) -> list[Any]:
    """Cases for a test of the refused arguments."""
    return [pytest.param(one, id=one.name) for one in table if one.refusal]


def supported(*tables: ArgumentTable) -> list[Any]:
    """Cases for a test of the supported arguments."""
    return [
        pytest.param(table, one, id=f"{table.title}-{one.name}")
        for table in tables
        for one in table
        if not one.refusal
    ]


def check_refused(one: Argument, call: Callable[..., Any], value: object = "something") -> None:
    """A refused argument names itself and the way round; values that ask for nothing pass."""
    assert one.shown_by is None
    assert one.refusal is not None
    with pytest.raises(RequestError) as caught:
        call(**{one.name: value})
    assert caught.value.field == one.name
    assert one.refusal.way_round in str(caught.value)


def check_shown(table: ArgumentTable, one: Argument) -> None:
    """A supported argument has a test, in a file that names it."""
    assert one.shown_by is not None, one.name
    file, test = one.shown_by.split("::")
    text = (ROOT / table.tests / file).read_text()
    assert f"def {test}(" in text, one.shown_by
    assert re.search(rf"\b{one.name}\b", text), f"{file} does not name {one.name}"


def _taken_by(node: ast.AST, holders: frozenset[str]) -> set[str]:
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=holder), attr=attr),
            args=[ast.Constant(value=str(name)), *_],
        ) if holder in holders and attr in _TAKES:
            return {name}
        case ast.Subscript(
            value=ast.Name(id=holder), slice=ast.Constant(value=str(name)), ctx=ast.Load()
        ) if holder in holders:
            return {name}
        case ast.Compare(
            left=ast.Constant(value=str(name)),
            ops=[ast.In() | ast.NotIn()],
            comparators=[ast.Name(id=holder)],
        ) if holder in holders:
            return {name}
        case ast.For(iter=ast.List(elts=names)) if _pops_its_target(node, holders):
            return {one.value for one in names if isinstance(one, ast.Constant)}
        case ast.Assign(value=ast.List(elts=names), targets=[ast.Name(id=target)]) if (
            target.endswith("kwargs_names")
        ):
            return {one.value for one in names if isinstance(one, ast.Constant)}
        case _:
            return set()


def _pops_its_target(loop: ast.For, holders: frozenset[str]) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "pop"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in holders
        for node in ast.walk(loop)
    )

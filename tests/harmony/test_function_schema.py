"""Python functions become the schemas that transformers makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Optional, Union

import pytest
from transformers.utils import get_json_schema

from ossia.errors import HarmonyError
from ossia.harmony.function_schema import function_schema

# ruff: noqa: UP007, UP045  (older spellings of hints are part of what is tested)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(Enum):
    ONE = 1
    NONE = None


def plain(a: str, b: int, c: float = 0.5, d: bool = True) -> str:
    """Do something.

    It takes two lines.

    Args:
        a: The first.
        b (int): not read as an argument
        b: The second,
            on two lines.
        c: The third: with a colon.

        d: The fourth
    Returns:
        Some
        text.
    Raises:
        ValueError: never.
    """
    return f"{a}{b}{c}{d}"


def containers(
    a: list[str],
    b: list[list[int]],
    c: dict[str, int],
    d: tuple[int, str],
    e: list,
    f: dict,
    g: tuple,
    h: Any,
) -> None:
    """Hold.

    Args:
        a: a
        b: b
        c: c
        d: d
        e: e
        f: f
        g: g
        h: h
    """


def unions(
    a: int | str,
    b: Optional[str],
    c: Union[int, float, None] = None,
    d: list[int] | None = None,
    e: list[int] | dict[str, str] = [],  # noqa: B006
    f: Literal["x"] | int = 1,
    g: list | tuple = (),
) -> Callable[[], int]:
    """Either.

    Args:
        a: a
        b: b
        c: c
        d: d
        e: e
        f: f
        g: g

    Returns:
        A function, which JSON cannot hold.
    """
    return lambda: 1


def listed(
    a: Literal["x", "y"], b: Literal[1, "z", None], c: Color, d: Mixed, e: str, f: int
) -> None:
    """Choose.

    Args:
        a: a
        b: b
        c: c
        d: d
        e: A drink (choices: ["tea ", "coffee"])
        f: A number (Choices: [1, 2])
    """


def nothing() -> dict[str, float]:
    """Take nothing. Args: none."""
    return {}


def indented(a: str, b: str) -> None:
    """Odd layout.

    Args:
          a: deep
             note: part of a
        b: shallow
    """


class Owner:
    def method(self, a: str) -> None:
        """Be called on an object.

        Args:
            a: a
        """

    @classmethod
    def of_class(cls, a: str = "") -> None:
        """Be called on a class.

        Args:
            a: a
        """

    def unbound(self, a: str) -> None:
        """Be called without its object.

        Args:
            a: a
        """


FUNCTIONS = [plain, containers, unions, listed, nothing, indented, Owner().method, Owner.of_class, Owner.unbound]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_it_is_what_transformers_makes(function: Callable[..., object]) -> None:
    ours = function_schema(function)
    assert json.dumps(ours) == json.dumps(get_json_schema(function))


def no_docstring(a: str) -> None: ...


def no_hint(a) -> None:
    """Do.

    Args:
        a: a
    """


def no_description(a: str, b: str) -> None:
    """Do.

    Args:
        a: a
    """


def custom_class(a: Owner) -> None:
    """Do.

    Args:
        a: a
    """


def endless(a: tuple[int, ...]) -> None:
    """Do.

    Args:
        a: a
    """


def odd_literal(a: Literal[b"x"]) -> None:
    """Do.

    Args:
        a: a
    """


def odd_container(a: set[int]) -> None:
    """Do.

    Args:
        a: a
    """


def broken_choices(a: str) -> None:
    """Do.

    Args:
        a: a (choices: tea, coffee)
    """


def unknown_name(a: Nonsense) -> None:  # noqa: F821
    """Do.

    Args:
        a: a
    """


REFUSED = [
    (no_docstring, "needs a docstring"),
    (no_hint, "argument 'a' of function no_hint needs a type hint"),
    (no_description, "does not describe 'b'"),
    (custom_class, "argument 'a' of function custom_class: JSON has no type"),
    (endless, "no tuple of fixed length"),
    (odd_literal, "no list of strings"),
    (odd_container, "JSON has no type"),
    (broken_choices, "no JSON list"),
    (unknown_name, "Nonsense"),
]


@pytest.mark.parametrize(("function", "complaint"), REFUSED)
def test_what_no_schema_can_say_is_refused(function: Callable[..., object], complaint: str) -> None:
    with pytest.raises(HarmonyError, match=complaint):
        function_schema(function)
    with pytest.raises(Exception):  # noqa: B017, PT011  (of many kinds)
        get_json_schema(function)

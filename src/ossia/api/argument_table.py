"""ArgumentTable: what a function of transformers takes, and what becomes of it here.

Every argument is supported, or refused with the way round it. The tables stand beside the functions
that they describe, which refuse by them; `docs/arguments.py` writes pages from them; and the tests
go through transformers' own signatures and fail when one is missing.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from ossia.errors import RequestError


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an argument is not supported.

    Args:
        way_round: What to do instead.
        neutral: Values beside None that ask for nothing, and pass.
    """

    way_round: str
    neutral: tuple[object, ...] = ()

    def lets_pass(self, value: object) -> bool:
        """Whether a value asks for nothing."""
        return value is None or any(_is_same(value, one) for one in self.neutral)


@dataclass(frozen=True, slots=True)
class Argument:
    """One line of a table.

    Args:
        name: Of the argument.
        shown_by: The test that shows it, `file.py::test_name`; None if it is refused.
        refusal: Why it is not supported; None if it is.
    """

    name: str
    shown_by: str | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentTable:
    """All arguments of one function.

    Args:
        title: Of the table.
        about: What to know before reading it; may be empty.
        tests: The folder of the tests, within the repository.
        supported: Argument to the test that shows it.
        refused: Argument to why.
    """

    title: str
    about: str = ""
    tests: str
    supported: Mapping[str, str]
    refused: Mapping[str, Refusal]

    def __iter__(self) -> Iterator[Argument]:
        """In alphabetical order."""
        for name in sorted(self.names):
            yield Argument(name, self.supported.get(name), self.refused.get(name))

    @property
    def names(self) -> frozenset[str]:
        """All arguments."""
        return frozenset({*self.supported, *self.refused})

    def as_markdown(self) -> str:
        """The table, under its title."""
        lines = [f"## {self.title}", ""]
        if self.about:
            lines += [self.about, ""]
        lines += ["| name | | |", "|---|---|---|"]
        for one in self:
            if one.refusal is None:
                lines.append(f"| `{one.name}` | supported | |")
            else:
                lines.append(f"| `{one.name}` | refused | {_in_words(one.refusal)} |")
        return "\n".join(lines) + "\n"


def page(title: str, about: str, tables: Iterable[ArgumentTable]) -> str:
    """Tables as a page of the documentation."""
    head = f"# {title}\n\n{about}\n\n"
    rule = (
        "A refused argument raises `RequestError` with its name and the way round it, unless its\n"
        "value asks for nothing; a name that is unknown is refused, too. This page is written by\n"
        "`docs/arguments.py`.\n"
    )
    return "\n".join([head + rule, *(table.as_markdown() for table in tables)])


def refuse(arguments: Mapping[str, object], refused: Mapping[str, Refusal]) -> None:
    """Refuse arguments that are not supported.

    Raises:
        RequestError: one of them asks for something; names it and the way round.
    """
    for name, value in arguments.items():
        refusal = refused.get(name)
        if refusal is not None and not refusal.lets_pass(value):
            raise RequestError(f"is not supported; {refusal.way_round}", field=name)


def refuse_all_but(
    arguments: Mapping[str, object],
    table: ArgumentTable,
    function: str,
    others: Collection[str] = (),
) -> None:
    """Refuse all arguments but the supported ones of a table, and others that are named.

    Raises:
        RequestError: one is unknown, or asks for something that is not supported; names it.
    """
    refuse(arguments, table.refused)
    known = table.names.union(others)
    for name in arguments:
        if name not in known:
            refuse_unknown(name, function, known)


def refuse_unknown(name: str, function: str, known: Collection[str]) -> NoReturn:
    """Refuse a name that a function does not know, with the nearest one that it does.

    Raises:
        RequestError: always.
    """
    raise RequestError(f"is no argument of {function}{or_nearest(name, known)}", field=name)


def or_nearest(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, where one is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _is_same(value: object, neutral: object) -> bool:
    if isinstance(value, numbers.Real) and isinstance(neutral, numbers.Real):
        return value == neutral
    return value is neutral or (type(value) is type(neutral) and value == neutral)


def _in_words(refusal: Refusal) -> str:
    values = " or ".join(f"`{value!r}`" for value in refusal.neutral)
    return f"{refusal.way_round} ({values} passes)" if values else refusal.way_round

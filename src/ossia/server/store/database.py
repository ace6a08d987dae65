"""Database: what the tables need of a connection, whichever database it leads to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement has found or changed."""

    @property
    def rowcount(self) -> int:
        """Rows that a statement has changed."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 - a tuple, or None
        """The next row."""
        ...

    def fetchall(self) -> list[Any]:
        """All further rows."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The further rows, one by one."""
        ...


class Database(Protocol):
    """A connection within a transaction; `sqlite3.Connection` is one.

    Statements are in the words that SQLite and PostgreSQL share, with `?` for what is filled in.
    """

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        """Run a statement."""
        ...

    def executemany(self, statement: str, values: Sequence[Sequence[Any]], /) -> object:
        """Run a statement for each of some rows of values."""
        ...

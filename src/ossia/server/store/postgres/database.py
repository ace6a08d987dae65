"""PostgresDatabase: a psycopg connection that understands the shared words of SQL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Dumper

from ossia.server.store.database import Rows


class PostgresDatabase:
    """As `Database` says.

    Args:
        connection: Within a transaction.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        """Run a statement."""
        return self._connection.execute(_in_its_words(statement), values)

    def executemany(self, statement: str, values: Sequence[Sequence[Any]], /) -> object:
        """Run a statement for each of some rows of values."""
        if values:
            with self._connection.cursor() as cursor:
                cursor.executemany(_in_its_words(statement), values)
        return None


class AnyTextDumper(Dumper):
    """Any text as an argument.

    PostgreSQL knows neither NUL nor lone surrogates. Ids that servers make hold neither, so what
    asks for one with them finds nothing, as it should.
    """

    oid = psycopg.adapters.types["text"].oid

    def dump(self, obj: str) -> Buffer:
        """As UTF-8."""
        return obj.replace("\0", "\ufffd").encode("utf-8", "replace")


@lru_cache(maxsize=256)
def _in_its_words(statement: str) -> bytes:
    return statement.replace("%", "%%").replace("?", "%s").encode()

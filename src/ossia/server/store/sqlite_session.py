"""SqliteSession: transactions of a SQLite connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ossia.errors import StoreError
from ossia.server.store.database import Database
from ossia.server.store.worker_thread import Work


class SqliteSession:
    """As `Session` says.

    Args:
        connection: In autocommit mode.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def transact(self, jobs: Sequence[Work[Any]]) -> list[Any]:
        """Run jobs in one transaction."""
        try:
            return self._attempt(jobs)
        except sqlite3.Error as error:
            raise StoreError(f"the store failed: {error}") from error

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _attempt(self, jobs: Sequence[Work[Any]]) -> list[Any]:
        self._connection.execute("BEGIN")
        try:
            results = [job(self._connection) for job in jobs]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return results


def used_bytes(database: Database) -> int:
    """Bytes of the database file that hold something."""
    ((pages,), (free,), (page_size,)) = (
        database.execute(f"PRAGMA {name}").fetchone()
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_size

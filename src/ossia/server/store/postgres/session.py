"""PostgresSession: transactions that outlive a lost connection."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors

from ossia.errors import StoreError, StoreUnreachableError
from ossia.server.store.postgres.database import PostgresDatabase
from ossia.server.store.postgres.link import Link
from ossia.server.store.worker_thread import Work

_MOST_ATTEMPTS = 8  # at a transaction that others keep getting in the way of
_IN_THE_WAY = (errors.DeadlockDetected, errors.SerializationFailure)


class PostgresSession:
    """As `Session` says.

    A transaction that was lost with its connection is made again on a new one. Whether a lost
    `COMMIT` has happened is told by a row with the transaction's own token: the second attempt
    cannot write it again.

    Args:
        link: Nobody else uses it.
        writes: Whether jobs change anything; those that do not see one state of the tables.
    """

    def __init__(self, link: Link, *, writes: bool) -> None:
        self._link = link
        self._writes = writes

    def transact(self, jobs: Sequence[Work[Any]]) -> list[Any]:
        """Run jobs in one transaction."""
        deadline = self._link.deadline()
        attempt = _Attempt(jobs, writes=self._writes)
        for _ in range(_MOST_ATTEMPTS):
            connection = self._link.connection(deadline)
            try:
                return attempt.run(connection)
            except _IN_THE_WAY:
                continue
            except psycopg.Error as error:
                if not self._link.is_lost:
                    raise StoreError(f"the store failed: {error}") from error
        raise StoreUnreachableError("PostgreSQL ends every transaction; see its log")

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()


class _Attempt:
    """A transaction that may be tried several times, and happens once."""

    def __init__(self, jobs: Sequence[Work[Any]], *, writes: bool) -> None:
        self._jobs = jobs
        self._token = uuid.uuid4()
        self._begin = (
            f"BEGIN; INSERT INTO commits (token) VALUES ('{self._token}')"
            if writes
            else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        )
        self._results: list[Any] | None = None  # of an attempt of which nobody knows the end

    def run(self, connection: psycopg.Connection[Any]) -> list[Any]:
        try:
            try:
                connection.execute(self._begin.encode())
            except errors.UniqueViolation:
                assert self._results is not None, "nobody else knows the token"
                connection.execute("ROLLBACK")
                return self._results
            database = PostgresDatabase(connection)
            results = [job(database) for job in self._jobs]
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
        self._results = results
        connection.execute("COMMIT")
        return results

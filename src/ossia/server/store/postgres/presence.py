"""Presence: tells other servers that this one lives, and mends what dead ones have left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from ossia.errors import StoreError
from ossia.log import logger
from ossia.server.store import upkeep
from ossia.server.store.postgres.database import PostgresDatabase
from ossia.server.store.postgres.link import Link

_log = logger(__name__)

# Of servers with unfinished responses. A lock that can be had belongs to one that is no more.
_OTHERS = """
    SELECT DISTINCT server FROM responses
    WHERE status IN ('queued', 'in_progress') AND server <> %s
"""
_HAS_RESTARTED = "SELECT now() - pg_postmaster_start_time() < make_interval(secs => %s)"


class Presence:
    """Holds an advisory lock of a server's number for as long as the server lives.

    PostgreSQL gives the lock back when the connection ends, however it does. Where the database
    itself has restarted, live servers get some time to take theirs again.

    Args:
        link: For this alone.
        server: The number.
        interval: Seconds between looks at the others.
        settling: Seconds from a start of the database in which nobody is taken for dead.
        clock: Seconds since 1970.
        on_look: Called after each look but the first, on the thread that has looked.

    Raises:
        StoreError: the database refuses.
    """

    def __init__(
        self,
        link: Link,
        server: int,
        *,
        interval: float,
        settling: float,
        clock: Callable[[], float] = time.time,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._server = server
        self._interval = interval
        self._settling = settling
        self._clock = clock
        self._on_look = on_look
        self._known: psycopg.Connection[Any] | None = None  # the connection that holds the lock
        self._end = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._run, name="ossia-store-presence", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave."""
        self._end.set()
        self._thread.join()
        self._link.close()

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            try:
                self._look()
                self._on_look()
            except (StoreError, psycopg.Error) as error:
                _log.warning("the other servers of the store cannot be seen: %s", error)

    def _look(self) -> None:
        connection = self._link.connection(self._link.deadline())
        if connection is not self._known:
            connection.execute("SELECT pg_advisory_lock(%s)", (self._server,))
            self._known = connection
        (settles,) = connection.execute(_HAS_RESTARTED, (self._settling,)).fetchone() or (True,)
        if settles:
            return
        mended = sum(
            self._mend(connection, server)
            for (server,) in connection.execute(_OTHERS, (self._server,)).fetchall()
        )
        if mended:
            _log.warning("%d responses were unfinished when their server ended", mended)

    def _mend(self, connection: psycopg.Connection[Any], server: int) -> int:
        with connection.transaction():
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (server,)).fetchone()
            if row is None or not row[0]:
                return 0  # it lives, or somebody else mends
            # Locked, since the server may live after all, cut off, and write what it has finished.
            those = f"server = {server:d} FOR UPDATE"
            return upkeep.fail_unfinished(PostgresDatabase(connection), self._clock(), where=those)

"""SqliteStore: one file in WAL mode, one thread that writes and one that reads."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ossia.errors import StoreError
from ossia.log import logger
from ossia.server.store import upkeep
from ossia.server.store.database import Database
from ossia.server.store.folder_lock import FolderLock
from ossia.server.store.private_folder import make_private_file
from ossia.server.store.sql_store import SqlStore
from ossia.server.store.sqlite_migrations import migrate
from ossia.server.store.sqlite_session import SqliteSession, used_bytes
from ossia.server.store.worker_thread import WorkerThread

T = TypeVar("T")

_log = logger(__name__)
_FILE = "store.sqlite3"
_BESIDE = tuple(f"{_FILE}-{each}" for each in ("wal", "shm", "journal"))
_CACHE_KB = (
    512  # of each connection: the system keeps the file's pages, too, and can do without them
)
_WRITES_BETWEEN_UPKEEP = 256


class SqliteStore(SqlStore):
    """Keeps everything in `store.sqlite3` of a folder, or in memory.

    Responses that were unfinished when a server ended are marked failed as the store is opened.

    Args:
        folder: Made if need be, and locked: it belongs to one server at a time. None: in memory.
        ttl: Seconds that things live from when they are written.
        max_bytes: Size at most, beyond which the oldest responses go.
        clock: Seconds since 1970.

    Raises:
        StoreError: the folder is in use, cannot be used or may hold what others put there, or the file
            is no store.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        ttl: float = 30 * 86400.0,
        max_bytes: int = 2**30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(ttl=ttl, clock=clock)
        self._max_bytes = max_bytes
        self._writes = 0
        self._lock = None if folder is None else FolderLock(folder)
        try:
            if folder is not None:
                make_private_file(folder / _FILE, beside=[folder / each for each in _BESIDE])
            connection = _open(folder)
            reader = None if folder is None else _connect(folder / _FILE)
        except (sqlite3.Error, OSError) as error:
            self._unlock()
            raise StoreError(
                f"{folder}: {error}; move {_FILE} away, or name another state folder"
            ) from error
        except StoreError:
            self._unlock()
            raise
        self._writer = WorkerThread(SqliteSession(connection), "ossia-store-writer")
        # In memory there is one connection only.
        self._reader = (
            WorkerThread(SqliteSession(reader), "ossia-store-reader") if reader else self._writer
        )
        mended = self._writer.submit(lambda db: upkeep.fail_unfinished(db, clock())).result()
        if mended:
            _log.warning("%d responses were unfinished when the last server ended", mended)

    async def close(self) -> None:
        """As Store says."""
        await asyncio.to_thread(self._close)

    async def _read(self, key: str, job: Callable[[Database], T]) -> T:
        return await self._reader.run(job)

    async def _write(self, key: str, job: Callable[[Database], T]) -> T:
        result = await self._writer.run(job)
        self._writes += 1
        if self._writes % _WRITES_BETWEEN_UPKEEP == 0:
            self._writer.submit(
                lambda db: upkeep.forget(db, self._clock(), self._max_bytes, used_bytes)
            ).add_done_callback(
                lambda done: done.exception() and _log.warning("upkeep: %s", done.exception())
            )
        return result

    def _close(self) -> None:
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _open(folder: Path | None) -> sqlite3.Connection:
    """The writer's connection, with tables of today's shape."""
    connection = _connect(":memory:" if folder is None else folder / _FILE)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path | str) -> sqlite3.Connection:
    # Autocommit; transactions are begun and ended by the session that the connection is given to.
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10.0)
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
    return connection

"""SqliteStore: one file in WAL mode, one thread that writes and one that reads."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ossia.errors import StoreError
from ossia.log import logger
from ossia.server.store import (
    chats_table,
    conversations_table,
    items_table,
    responses_table,
    upkeep,
)
from ossia.server.store.folder_lock import FolderLock
from ossia.server.store.interface import JsonObject, StoredChat, StoredResponse
from ossia.server.store.migrations import migrate
from ossia.server.store.worker_thread import WorkerThread

_log = logger(__name__)
_FILE = "store.sqlite3"
_WRITES_BETWEEN_UPKEEP = 256


class SqliteStore:
    """Keeps everything in `store.sqlite3` of a folder, or in memory.

    Responses that were unfinished when a server ended are marked failed as the store is opened.

    Args:
        folder: Made if need be, and locked: it belongs to one server at a time. None: in memory.
        ttl: Seconds that things live from when they are written.
        max_bytes: Size at most, beyond which the oldest responses go.
        clock: Seconds since 1970.

    Raises:
        StoreError: the folder is in use or cannot be used, or the file is no store.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        ttl: float = 30 * 86400.0,
        max_bytes: int = 2**30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ttl = ttl
        self._max_bytes = max_bytes
        self._clock = clock
        self._writes = 0
        self._lock = None if folder is None else FolderLock(folder)
        try:
            connection = _open(folder)
            reader = None if folder is None else _connect(folder / _FILE)
        except sqlite3.Error as error:
            self._unlock()
            raise StoreError(
                f"{folder}: {error}; move {_FILE} away, or name another state folder"
            ) from error
        except StoreError:
            self._unlock()
            raise
        self._writer = WorkerThread(connection, "ossia-store-writer")
        # In memory there is one connection only.
        self._reader = WorkerThread(reader, "ossia-store-reader") if reader else self._writer
        mended = self._writer.submit(lambda db: upkeep.fail_unfinished(db, clock())).result()
        if mended:
            _log.warning("%d responses were unfinished when the last server ended", mended)

    async def put_response(self, record: StoredResponse) -> None:
        """As Store says."""
        await self._write(lambda db: responses_table.put(db, record, self._expiry()))

    async def get_response(self, response_id: str) -> StoredResponse | None:
        """As Store says."""
        return await self._reader.run(
            lambda db: responses_table.get(db, response_id, self._clock())
        )

    async def delete_response(self, response_id: str) -> bool:
        """As Store says."""
        return await self._writer.run(lambda db: responses_table.delete(db, response_id))

    async def get_item(self, item_id: str) -> JsonObject | None:
        """As Store says."""
        return await self._reader.run(lambda db: items_table.find(db, item_id))

    async def append_events(self, response_id: str, events: Sequence[JsonObject]) -> None:
        """As Store says."""
        if events:
            await self._write(lambda db: responses_table.append_events(db, response_id, events))

    async def get_events(self, response_id: str, after: int = -1) -> list[JsonObject]:
        """As Store says."""
        return await self._reader.run(lambda db: responses_table.get_events(db, response_id, after))

    async def put_conversation(self, conversation: JsonObject) -> None:
        """As Store says."""
        await self._write(lambda db: conversations_table.put(db, conversation, self._expiry()))

    async def get_conversation(self, conversation_id: str) -> JsonObject | None:
        """As Store says."""
        return await self._reader.run(
            lambda db: conversations_table.get(db, conversation_id, self._clock())
        )

    async def delete_conversation(self, conversation_id: str) -> bool:
        """As Store says."""
        return await self._writer.run(lambda db: conversations_table.delete(db, conversation_id))

    async def add_items(self, conversation_id: str, items: Sequence[JsonObject]) -> None:
        """As Store says."""
        await self._write(
            lambda db: conversations_table.add_items(db, conversation_id, items, self._expiry())
        )

    async def get_items(self, conversation_id: str) -> list[JsonObject]:
        """As Store says."""
        return await self._reader.run(lambda db: items_table.inputs_of(db, conversation_id))

    async def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """As Store says."""
        return await self._writer.run(
            lambda db: items_table.remove_one(db, conversation_id, item_id)
        )

    async def put_chat(self, record: StoredChat) -> None:
        """As Store says."""
        await self._write(lambda db: chats_table.put(db, record, self._expiry()))

    async def get_chat(self, completion_id: str) -> StoredChat | None:
        """As Store says."""
        return await self._reader.run(lambda db: chats_table.get(db, completion_id, self._clock()))

    async def delete_chat(self, completion_id: str) -> bool:
        """As Store says."""
        return await self._writer.run(lambda db: chats_table.delete(db, completion_id))

    async def list_chats(
        self, *, model: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> list[JsonObject]:
        """As Store says."""
        return await self._reader.run(
            lambda db: chats_table.find(db, model, metadata or {}, self._clock())
        )

    async def close(self) -> None:
        """As Store says."""
        await asyncio.to_thread(self._close)

    async def _write(self, job: Callable[[sqlite3.Connection], None]) -> None:
        await self._writer.run(job)
        self._writes += 1
        if self._writes % _WRITES_BETWEEN_UPKEEP == 0:
            self._writer.submit(
                lambda db: upkeep.forget(db, self._clock(), self._max_bytes)
            ).add_done_callback(
                lambda done: done.exception() and _log.warning("upkeep: %s", done.exception())
            )

    def _expiry(self) -> float:
        return self._clock() + self._ttl

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
    # Autocommit; transactions are begun and ended by the thread that the connection is given to.
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10.0)

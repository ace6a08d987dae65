"""PostgresStore: a store that several servers share."""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar

import psycopg

from ossia.errors import StoreError, StoreUnreachableError
from ossia.log import logger
from ossia.server.store import responses_table, upkeep
from ossia.server.store.database import Database
from ossia.server.store.interface import StoredResponse
from ossia.server.store.postgres.address import PostgresAddress
from ossia.server.store.postgres.link import Link, LinkSettings
from ossia.server.store.postgres.migrations import UPKEEP, migrate
from ossia.server.store.postgres.presence import Presence
from ossia.server.store.postgres.session import PostgresSession
from ossia.server.store.sql_store import SqlStore
from ossia.server.store.worker_thread import WorkerThread

T = TypeVar("T")

_log = logger(__name__)
_LANES: Final = 4  # connections that write, and as many that read; made when they are needed
_WRITES_BETWEEN_UPKEEP: Final = 256
_KEY_BYTES: Final = 32
_MOST_LATE: Final = 256  # responses that wait for the end of an outage
_USED_BYTES: Final = """
    SELECT (SELECT coalesce(sum(size), 0) FROM responses)
        + (SELECT coalesce(sum(octet_length(body) + octet_length(messages)), 0) FROM chats)
"""


class PostgresStore(SqlStore):
    """Keeps everything in a schema of a PostgreSQL database (13 or newer).

    Each server takes a number at random. Responses that were unfinished when their server ended
    are marked failed by those that are left, or as the store is opened; see `Presence`. When the
    database is away, jobs wait for it a little, then fail until it is back.

    Args:
        address: Of the database.
        ttl: Seconds that things live from when they are written.
        max_bytes: Of responses and completions at most, beyond which the oldest go.
        clock: Seconds since 1970.
        schema: Where the tables are, made if need be.
        patience: Seconds that an outage is waited for.
        interval: Seconds between looks at the other servers.
        settling: Seconds from a start of the database in which no server is taken for dead.

    Raises:
        StoreError: the database cannot be reached or used, or a newer Ossia has written it.
    """

    def __init__(
        self,
        address: PostgresAddress,
        *,
        ttl: float = 30 * 86400.0,
        max_bytes: int = 2**30,
        clock: Callable[[], float] = time.time,
        schema: str = "ossia",
        patience: float = 5.0,
        interval: float = 10.0,
        settling: float = 30.0,
    ) -> None:
        super().__init__(ttl=ttl, clock=clock)
        self._max_bytes = max_bytes
        self._writes = 0
        self._late: dict[str, StoredResponse] = {}
        # Positive, and never that of two servers.
        server = secrets.randbits(62) + 1
        self._links = LinkSettings(address, schema, server, patience=patience)
        first = Link(self._links)
        self._writers = self._lanes("writer", writes=True)
        self._readers = self._lanes("reader", writes=False)
        try:
            connection = first.connection(time.monotonic())
            migrate(connection, schema)
            self._shared_key = _shared_key(connection)
            self._presence = Presence(
                first,
                server,
                interval=interval,
                settling=settling,
                clock=clock,
                on_look=self._write_late,
            )
        except BaseException as error:
            first.close()
            self._close_lanes()
            if isinstance(error, psycopg.Error):
                raise StoreError(f"{address} cannot be used: {error}") from error
            raise

    @property
    def shared_key(self) -> bytes | None:
        """As Store says."""
        return self._shared_key

    async def close(self) -> None:
        """As Store says."""
        await asyncio.to_thread(self._close)

    async def put_response(self, record: StoredResponse) -> None:
        """As Store says; what has ended during an outage is written after it, if there is room."""
        try:
            await super().put_response(record)
        except StoreUnreachableError:
            if record.response["status"] not in upkeep.UNFINISHED and len(self._late) < _MOST_LATE:
                self._late[record.response_id] = record
            raise
        self._late.pop(record.response_id, None)

    async def delete_response(self, response_id: str) -> bool:
        """As Store says."""
        self._late.pop(response_id, None)
        return await super().delete_response(response_id)

    def _write_late(self) -> None:
        """Write what has ended during an outage; on the thread that has seen the outage's end."""
        for response_id, record in list(self._late.items()):
            job = partial(responses_table.put, record=record, expires=self._expiry())

            def done(written: Future[None], response_id: str = response_id) -> None:
                if written.exception() is None:
                    self._late.pop(response_id, None)

            _lane(self._writers, response_id).submit(job).add_done_callback(done)

    def _lanes(self, name: str, *, writes: bool) -> list[WorkerThread]:
        return [
            WorkerThread(
                PostgresSession(Link(self._links), writes=writes), f"ossia-store-{name}-{number}"
            )
            for number in range(_LANES)
        ]

    async def _read(self, key: str, job: Callable[[Database], T]) -> T:
        return await _lane(self._readers, key).run(job)

    async def _write(self, key: str, job: Callable[[Database], T]) -> T:
        result = await _lane(self._writers, key).run(job)
        self._writes += 1
        if self._writes % _WRITES_BETWEEN_UPKEEP == 0:
            _lane(self._writers, "upkeep").submit(self._keep_up).add_done_callback(_warn)
        return result

    def _keep_up(self, database: Database) -> None:
        (is_ours,) = database.execute("SELECT pg_try_advisory_xact_lock(?)", (UPKEEP,)).fetchone()
        if is_ours:  # and no other server's, at this moment
            upkeep.forget(database, self._clock(), self._max_bytes, _used_bytes)
            # Nobody tries again for so long.
            database.execute("DELETE FROM commits WHERE at < now() - interval '1 hour'")

    def _close(self) -> None:
        self._presence.close()
        self._close_lanes()

    def _close_lanes(self) -> None:
        for lane in (*self._readers, *self._writers):
            lane.close()


def _lane(lanes: list[WorkerThread], key: str) -> WorkerThread:
    return lanes[zlib.crc32(key.encode("utf-8", "replace")) % len(lanes)]


def _used_bytes(database: Database) -> int:
    (used,) = database.execute(_USED_BYTES).fetchone()
    return int(used)


def _shared_key(connection: psycopg.Connection[Any]) -> bytes:
    """The key that the first server of this store has made."""
    connection.execute(
        "INSERT INTO secrets (name, value) VALUES ('sealing', %s) ON CONFLICT DO NOTHING",
        (secrets.token_bytes(_KEY_BYTES),),
    )
    row = connection.execute("SELECT value FROM secrets WHERE name = 'sealing'").fetchone()
    assert row is not None, "it was just written"
    return bytes(row[0])


def _warn(done: Future[None]) -> None:
    if error := done.exception():
        _log.warning("upkeep: %s", error)

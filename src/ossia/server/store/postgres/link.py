"""Link: a connection to a PostgreSQL server that is made anew when it was lost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from ossia.errors import StoreUnreachableError
from ossia.server.store.postgres.address import PostgresAddress
from ossia.server.store.postgres.database import AnyTextDumper

_FIRST_PAUSE = 0.05  # seconds between attempts to connect, and doubled up to
_LONGEST_PAUSE = 1.0


@dataclass
class Outage:
    """What the links of a store know of their database together.

    Args:
        is_known: It has been away for longer than the patience, and no new job waits for it.
    """

    is_known: bool = False


@dataclass(frozen=True)
class LinkSettings:
    """What every connection of a store is made with.

    Args:
        address: Of the database.
        schema: Where the tables are.
        server: Number of the server in this process.
        patience: Seconds that an outage is waited for.
        statement_timeout: Seconds that the database gets for a statement.
        outage: Shared by all.
    """

    address: PostgresAddress
    schema: str
    server: int
    patience: float = 5.0
    statement_timeout: float = 30.0
    outage: Outage = field(default_factory=Outage)


class Link:
    """Gives a connection that was not lost as far as is known; for one thread.

    Args:
        settings: What it is made with.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._connection: psycopg.Connection[Any] | None = None

    def deadline(self) -> float:
        """Until when a job that comes now may wait for a connection."""
        settings = self._settings
        return time.monotonic() + (0.0 if settings.outage.is_known else settings.patience)

    def connection(self, deadline: float) -> psycopg.Connection[Any]:
        """A connection in autocommit mode; the same until it is lost.

        Raises:
            StoreUnreachableError: there is none until the deadline.
        """
        pause = _FIRST_PAUSE
        while self.is_lost:
            self.close()
            try:
                self._connection = self._connect()
            except psycopg.Error as error:
                if time.monotonic() + pause > deadline:
                    self._settings.outage.is_known = True
                    address = self._settings.address
                    raise StoreUnreachableError(
                        f"PostgreSQL cannot be reached, {address}: {_one_line(error)}"
                    ) from error
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._settings.outage.is_known = False
        assert self._connection is not None, "it is not lost"
        return self._connection

    @property
    def is_lost(self) -> bool:
        """Whether there is no connection (any more)."""
        return self._connection is None or self._connection.closed

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[Any]:
        settings = self._settings
        connection = psycopg.connect(**settings.address.parameters, autocommit=True)
        try:
            connection.adapters.register_dumper(str, AnyTextDumper)
            for name, value in (
                ("search_path", settings.schema),
                ("ossia.server", str(settings.server)),
                ("statement_timeout", f"{settings.statement_timeout * 1000:.0f}"),
                # A server that is cut off is noticed, so that its locks do not stay.
                ("tcp_keepalives_idle", "10"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
            ):
                quoted = sql.Identifier(value) if name == "search_path" else sql.Literal(value)
                connection.execute(sql.SQL("SET {} = {}").format(_name(name), quoted))
        except BaseException:
            connection.close()
            raise
        return connection


def _name(name: str) -> sql.Composable:
    return sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

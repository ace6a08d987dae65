"""The tables of the PostgreSQL store, as steps from one version to the next."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

from ossia.errors import StoreError

MIGRATING: Final = 0x0551A_0001
"""Advisory lock of who changes the tables."""
UPKEEP: Final = 0x0551A_0002
"""Advisory lock of who removes what is old."""

MIGRATIONS: Final = (
    """
    CREATE TABLE responses (
        id TEXT COLLATE "C" PRIMARY KEY,
        status TEXT NOT NULL,
        created DOUBLE PRECISION NOT NULL,
        expires DOUBLE PRECISION NOT NULL,
        previous_id TEXT,
        conversation_id TEXT,
        body BYTEA NOT NULL,               -- JSON; JSONB would refuse some texts
        size BIGINT NOT NULL,
        server BIGINT NOT NULL DEFAULT current_setting('ossia.server')::bigint  -- who made it
    );
    CREATE INDEX responses_by_expiry ON responses (expires);
    CREATE INDEX responses_by_age ON responses (created, id);
    CREATE INDEX responses_unfinished ON responses (server)
        WHERE status IN ('queued', 'in_progress');
    CREATE TABLE items (
        sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- rises with time
        owner TEXT COLLATE "C" NOT NULL,   -- id of a response or conversation
        id TEXT COLLATE "C" NOT NULL,
        is_output SMALLINT NOT NULL,       -- of the response: its body holds the item
        body BYTEA
    );
    CREATE INDEX items_by_owner ON items (owner, sequence);
    CREATE INDEX items_by_id ON items (id, sequence);
    CREATE TABLE events (
        response_id TEXT COLLATE "C" NOT NULL,
        first BIGINT NOT NULL,             -- sequence number of the first event
        last BIGINT NOT NULL,
        body BYTEA NOT NULL,               -- a JSON array, compressed
        PRIMARY KEY (response_id, first)
    );
    CREATE TABLE conversations (
        id TEXT COLLATE "C" PRIMARY KEY,
        expires DOUBLE PRECISION NOT NULL,
        body BYTEA NOT NULL
    );
    CREATE INDEX conversations_by_expiry ON conversations (expires);
    CREATE TABLE chats (
        id TEXT COLLATE "C" PRIMARY KEY,
        created DOUBLE PRECISION NOT NULL,
        expires DOUBLE PRECISION NOT NULL,
        model TEXT NOT NULL,
        body BYTEA NOT NULL,
        messages BYTEA NOT NULL
    );
    CREATE INDEX chats_by_expiry ON chats (expires);
    CREATE TABLE commits (                 -- transactions that happened, lately
        token UUID PRIMARY KEY,
        at TIMESTAMPTZ NOT NULL DEFAULT now()
    );
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BYTEA NOT NULL);
    """,
)
"""Each brings a database from the version that is its place to the next; none is ever changed."""


def migrate(connection: psycopg.Connection[Any], schema: str) -> None:
    """Bring a schema up to date; however many servers do so, one after the other.

    Args:
        connection: In autocommit mode.
        schema: Made if there is none.

    Raises:
        StoreError: it was written by a newer Ossia.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATING,))
        # Asked first, since CREATE SCHEMA IF NOT EXISTS wants the right to create one anyway.
        if not connection.execute(
            "SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)
        ).fetchone():
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute("CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL)")
        row = connection.execute("SELECT number FROM version").fetchone()
        if row is None:
            connection.execute("INSERT INTO version (number) VALUES (0)")
        version = 0 if row is None else row[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"the store is of version {version}, this Ossia knows up to {len(MIGRATIONS)}; "
                "use a newer one, or another database"
            )
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        connection.execute("UPDATE version SET number = %s", (len(MIGRATIONS),))

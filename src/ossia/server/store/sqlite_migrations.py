"""The tables of the SQLite store, as steps from one version to the next."""

from __future__ import annotations

import sqlite3

from ossia.errors import StoreError

MIGRATIONS = (
    """
    CREATE TABLE responses (
        id TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        previous_id TEXT,
        conversation_id TEXT,
        body BLOB NOT NULL,
        size INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX responses_by_expiry ON responses (expires);
    CREATE INDEX responses_by_status ON responses (status);
    CREATE TABLE items (
        sequence INTEGER PRIMARY KEY,      -- rises with time
        owner TEXT NOT NULL,               -- id of a response or conversation
        id TEXT NOT NULL,
        is_output INTEGER NOT NULL,        -- of the response: its body holds the item
        body BLOB
    );
    CREATE INDEX items_by_owner ON items (owner, sequence);
    CREATE INDEX items_by_id ON items (id, sequence);
    CREATE TABLE events (
        response_id TEXT NOT NULL,
        first INTEGER NOT NULL,            -- sequence number of the first event
        last INTEGER NOT NULL,
        body BLOB NOT NULL,                -- a JSON array, compressed
        PRIMARY KEY (response_id, first)
    ) WITHOUT ROWID;
    CREATE TABLE conversations (
        id TEXT PRIMARY KEY,
        expires REAL NOT NULL,
        body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX conversations_by_expiry ON conversations (expires);
    CREATE TABLE chats (
        id TEXT PRIMARY KEY,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        model TEXT NOT NULL,
        body BLOB NOT NULL,
        messages BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX chats_by_expiry ON chats (expires);
    """,
)
"""Each brings a database from the version that is its place to the next; none is ever changed."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database up to date, one version in one transaction.

    Raises:
        StoreError: it was written by a newer Ossia.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the store is of version {version}, this Ossia knows up to {len(MIGRATIONS)}; "
            "use a newer one, or another state folder"
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

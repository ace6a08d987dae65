"""Conversations; their items lie among all items."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ossia.server.store import items_table
from ossia.server.store.database import Database
from ossia.server.store.interface import JsonObject


def put(database: Database, conversation: JsonObject, expires: float) -> None:
    """Write a conversation object, or write it anew."""
    database.execute(
        "INSERT INTO conversations (id, expires, body) VALUES (?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, body = excluded.body",
        (conversation["id"], expires, orjson.dumps(conversation)),
    )


def get(database: Database, conversation_id: str, now: float) -> JsonObject | None:
    """A conversation that has not expired."""
    row = database.execute(
        "SELECT body FROM conversations WHERE id = ? AND expires > ?", (conversation_id, now)
    ).fetchone()
    return None if row is None else orjson.loads(row[0])


def delete(database: Database, conversation_id: str) -> bool:
    """Remove a conversation and its items; whether there was one."""
    items_table.remove(database, conversation_id)
    deleted = database.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
    return deleted.rowcount > 0


def add_items(
    database: Database,
    conversation_id: str,
    items: Sequence[JsonObject],
    expires: float,
) -> None:
    """Put items behind those of a conversation, which lives on from now; it may be gone."""
    # First, since it keeps others from putting theirs in between.
    found = database.execute(
        "UPDATE conversations SET expires = ? WHERE id = ?", (expires, conversation_id)
    )
    if found.rowcount:
        items_table.add(database, conversation_id, items)

"""Conversations; their items lie among all items."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from ossia.server.store import items_table
from ossia.server.store.interface import JsonObject


def put(connection: sqlite3.Connection, conversation: JsonObject, expires: float) -> None:
    """Write a conversation object, or write it anew."""
    connection.execute(
        "INSERT OR REPLACE INTO conversations (id, expires, body) VALUES (?, ?, ?)",
        (conversation["id"], expires, orjson.dumps(conversation)),
    )


def get(connection: sqlite3.Connection, conversation_id: str, now: float) -> JsonObject | None:
    """A conversation that has not expired."""
    row = connection.execute(
        "SELECT body FROM conversations WHERE id = ? AND expires > ?", (conversation_id, now)
    ).fetchone()
    return None if row is None else orjson.loads(row[0])


def delete(connection: sqlite3.Connection, conversation_id: str) -> bool:
    """Remove a conversation and its items; whether there was one."""
    items_table.remove(connection, conversation_id)
    deleted = connection.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
    return deleted.rowcount > 0


def add_items(
    connection: sqlite3.Connection,
    conversation_id: str,
    items: Sequence[JsonObject],
    expires: float,
) -> None:
    """Put items behind those of a conversation, which lives on from now."""
    items_table.add(connection, conversation_id, items)
    connection.execute(
        "UPDATE conversations SET expires = ? WHERE id = ?", (expires, conversation_id)
    )

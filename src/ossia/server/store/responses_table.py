"""Responses and their streamed events."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

import orjson

from ossia.server.store import items_table
from ossia.server.store.interface import JsonObject, StoredResponse


def put(connection: sqlite3.Connection, record: StoredResponse, expires: float) -> None:
    """Write a response, or write it anew."""
    response = record.response
    body = orjson.dumps(response)
    size = len(body) + sum(len(orjson.dumps(item)) for item in record.input_items)
    connection.execute(
        "INSERT OR REPLACE INTO responses "
        "(id, status, created, expires, previous_id, conversation_id, body, size) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.response_id,
            response.get("status") or "completed",
            response.get("created_at") or 0.0,
            expires,
            record.previous_response_id,
            record.conversation_id,
            body,
            size,
        ),
    )
    items_table.replace(
        connection, record.response_id, record.input_items, response.get("output") or ()
    )


def get(connection: sqlite3.Connection, response_id: str, now: float) -> StoredResponse | None:
    """A response that has not expired."""
    row = connection.execute(
        "SELECT body, previous_id, conversation_id FROM responses WHERE id = ? AND expires > ?",
        (response_id, now),
    ).fetchone()
    if row is None:
        return None
    body, previous_id, conversation_id = row
    return StoredResponse(
        response=orjson.loads(body),
        input_items=items_table.inputs_of(connection, response_id),
        previous_response_id=previous_id,
        conversation_id=conversation_id,
    )


def delete(connection: sqlite3.Connection, response_id: str) -> bool:
    """Remove a response with all that is its own; whether there was one."""
    items_table.remove(connection, response_id)
    connection.execute("DELETE FROM events WHERE response_id = ?", (response_id,))
    deleted = connection.execute("DELETE FROM responses WHERE id = ?", (response_id,))
    return deleted.rowcount > 0


def append_events(
    connection: sqlite3.Connection, response_id: str, events: Sequence[JsonObject]
) -> None:
    """Keep a run of events as one compressed array; the response counts them as its size."""
    body = zlib.compress(orjson.dumps(list(events)), level=1)
    connection.execute(
        "INSERT OR REPLACE INTO events (response_id, first, last, body) VALUES (?, ?, ?, ?)",
        (response_id, events[0]["sequence_number"], events[-1]["sequence_number"], body),
    )


def get_events(connection: sqlite3.Connection, response_id: str, after: int) -> list[JsonObject]:
    """Events with a higher sequence number, in order."""
    rows = connection.execute(
        "SELECT body FROM events WHERE response_id = ? AND last > ? ORDER BY first",
        (response_id, after),
    )
    events = [event for (body,) in rows for event in orjson.loads(zlib.decompress(body))]
    return [event for event in events if event["sequence_number"] > after]

"""Responses and their streamed events."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import orjson

from ossia.server.store import conversations_table, items_table
from ossia.server.store.database import Database
from ossia.server.store.interface import JsonObject, StoredResponse


def put(database: Database, record: StoredResponse, expires: float) -> None:
    """Write a response, or write it anew; its conversation gains from it once."""
    response = record.response
    # Asked before, since a store may write again what it does not know to have been written.
    is_new = not _is_completed(database, record.response_id)
    body = orjson.dumps(response)
    size = len(body) + sum(len(orjson.dumps(item)) for item in record.input_items)
    database.execute(
        "INSERT INTO responses "
        "(id, status, created, expires, previous_id, conversation_id, body, size) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status, "
        "created = excluded.created, expires = excluded.expires, "
        "previous_id = excluded.previous_id, conversation_id = excluded.conversation_id, "
        "body = excluded.body, size = excluded.size",
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
        database, record.response_id, record.input_items, response.get("output") or ()
    )
    if record.events:
        _put_events(database, record.response_id, record.events)
    if record.gained and is_new:
        assert record.conversation_id is not None, "they are for a conversation"
        conversations_table.add_items(database, record.conversation_id, record.gained, expires)


def get(database: Database, response_id: str, now: float) -> StoredResponse | None:
    """A response that has not expired."""
    row = database.execute(
        "SELECT body, previous_id, conversation_id FROM responses WHERE id = ? AND expires > ?",
        (response_id, now),
    ).fetchone()
    if row is None:
        return None
    body, previous_id, conversation_id = row
    return StoredResponse(
        response=orjson.loads(body),
        input_items=items_table.inputs_of(database, response_id),
        previous_response_id=previous_id,
        conversation_id=conversation_id,
    )


def delete(database: Database, response_id: str) -> bool:
    """Remove a response with all that is its own; whether there was one."""
    items_table.remove(database, response_id)
    database.execute("DELETE FROM events WHERE response_id = ?", (response_id,))
    deleted = database.execute("DELETE FROM responses WHERE id = ?", (response_id,))
    return deleted.rowcount > 0


def get_events(database: Database, response_id: str, after: int) -> list[JsonObject]:
    """Events with a higher sequence number, in order."""
    rows = database.execute(
        "SELECT body FROM events WHERE response_id = ? AND last > ? ORDER BY first",
        (response_id, after),
    )
    events = [event for (body,) in rows for event in orjson.loads(zlib.decompress(body))]
    return [event for event in events if event["sequence_number"] > after]


def _is_completed(database: Database, response_id: str) -> bool:
    row = database.execute("SELECT status FROM responses WHERE id = ?", (response_id,)).fetchone()
    return row is not None and row[0] == "completed"


def _put_events(database: Database, response_id: str, events: Sequence[JsonObject]) -> None:
    """Keep events as one compressed array; the response counts them as its size."""
    body = zlib.compress(orjson.dumps(list(events)), level=1)
    database.execute(
        "INSERT INTO events (response_id, first, last, body) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (response_id, first) DO UPDATE SET last = excluded.last, body = excluded.body",
        (response_id, events[0]["sequence_number"], events[-1]["sequence_number"], body),
    )
    database.execute("UPDATE responses SET size = size + ? WHERE id = ?", (len(body), response_id))

"""What a store does on its own account: mend after a crash, forget what is old, keep within a size."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from ossia.server.store import conversations_table, responses_table
from ossia.server.store.interface import JsonObject

_UNFINISHED = ("queued", "in_progress")


def fail_unfinished(connection: sqlite3.Connection, now: float) -> int:
    """Mark responses failed that nobody works on any more, because the server ended under them.

    Returns:
        How many there were.
    """
    rows = connection.execute(
        "SELECT id, expires FROM responses WHERE status IN (?, ?)", _UNFINISHED
    ).fetchall()
    for response_id, expires in rows:
        record = responses_table.get(connection, response_id, now)
        if record is not None:
            failed = replace(record, response=_failed(record.response))
            responses_table.put(connection, failed, expires)
    return len(rows)


def forget(connection: sqlite3.Connection, now: float, max_bytes: int) -> int:
    """Remove what has expired, then the oldest until the rest fits.

    Returns:
        How many responses, conversations and completions went.
    """
    removed = 0
    for (response_id,) in _expired(connection, "responses", now):
        removed += responses_table.delete(connection, response_id)
    for (conversation_id,) in _expired(connection, "conversations", now):
        removed += conversations_table.delete(connection, conversation_id)
    removed += connection.execute("DELETE FROM chats WHERE expires <= ?", (now,)).rowcount
    while (excess := used_bytes(connection) - max_bytes) > 0:
        gone = _remove_oldest(connection, excess)
        if gone == 0:
            break
        removed += gone
    return removed


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the database that hold something."""
    ((pages,), (free,), (page_size,)) = (
        connection.execute(f"PRAGMA {name}").fetchone()
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_size


def _expired(connection: sqlite3.Connection, table: str, now: float) -> list[tuple[str]]:
    return connection.execute(f"SELECT id FROM {table} WHERE expires <= ?", (now,)).fetchall()


def _remove_oldest(connection: sqlite3.Connection, excess: int) -> int:
    """Remove finished responses, the oldest first, that take about so many bytes; else chats."""
    removed = freed = 0
    oldest = connection.execute(
        "SELECT id, size FROM responses WHERE status NOT IN (?, ?) ORDER BY created", _UNFINISHED
    ).fetchall()
    for response_id, size in oldest:
        removed += responses_table.delete(connection, response_id)
        freed += size
        if freed >= excess:
            break
    if removed == 0:
        removed = connection.execute(
            "DELETE FROM chats WHERE id IN (SELECT id FROM chats ORDER BY created LIMIT 16)"
        ).rowcount
    return removed


def _failed(response: JsonObject) -> JsonObject:
    error = {"code": "server_error", "message": "the server ended before the response did"}
    return response | {"status": "failed", "error": error}

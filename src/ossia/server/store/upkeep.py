"""What a store does on its own account: mend after a crash, forget what is old, keep within a size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ossia.server.store import conversations_table, responses_table
from ossia.server.store.database import Database
from ossia.server.store.interface import JsonObject

UNFINISHED: Final = ("queued", "in_progress")
"""States of responses that are being made."""


def fail_unfinished(database: Database, now: float, *, where: str = "1 = 1") -> int:
    """Mark responses failed that nobody works on any more, because the server ended under them.

    Args:
        database: Where they are.
        now: In seconds since 1970.
        where: A condition, of SQL, on those that are meant; may end with how to lock them.

    Returns:
        How many there were.
    """
    rows = database.execute(
        f"SELECT id, expires FROM responses WHERE status IN (?, ?) AND {where}", UNFINISHED
    ).fetchall()
    for response_id, expires in rows:
        record = responses_table.get(database, response_id, now)
        if record is not None:
            failed = replace(record, response=_failed(record.response))
            responses_table.put(database, failed, expires)
    return len(rows)


def forget(
    database: Database, now: float, max_bytes: int, used_bytes: Callable[[Database], int]
) -> int:
    """Remove what has expired, then the oldest until the rest fits.

    Args:
        database: Where it is.
        now: In seconds since 1970.
        max_bytes: How much may stay.
        used_bytes: Tells how much there is.

    Returns:
        How many responses, conversations and completions went.
    """
    removed = 0
    for (response_id,) in _expired(database, "responses", now):
        removed += responses_table.delete(database, response_id)
    for (conversation_id,) in _expired(database, "conversations", now):
        removed += conversations_table.delete(database, conversation_id)
    removed += database.execute("DELETE FROM chats WHERE expires <= ?", (now,)).rowcount
    while (excess := used_bytes(database) - max_bytes) > 0:
        gone = _remove_oldest(database, excess)
        if gone == 0:
            break
        removed += gone
    return removed


def _expired(database: Database, table: str, now: float) -> list[tuple[str]]:
    return database.execute(f"SELECT id FROM {table} WHERE expires <= ?", (now,)).fetchall()


def _remove_oldest(database: Database, excess: int) -> int:
    """Remove finished responses, the oldest first, that take about so many bytes; else chats."""
    removed = freed = 0
    oldest = database.execute(
        "SELECT id, size FROM responses WHERE status NOT IN (?, ?) ORDER BY created", UNFINISHED
    ).fetchall()
    for response_id, size in oldest:
        removed += responses_table.delete(database, response_id)
        freed += size
        if freed >= excess:
            break
    if removed == 0:
        removed = database.execute(
            "DELETE FROM chats WHERE id IN (SELECT id FROM chats ORDER BY created LIMIT 16)"
        ).rowcount
    return removed


def _failed(response: JsonObject) -> JsonObject:
    error = {"code": "server_error", "message": "the server ended before the response did"}
    return response | {"status": "failed", "error": error}

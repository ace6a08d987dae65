"""Chat completions that were to be kept."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from ossia.server.store.database import Database
from ossia.server.store.interface import JsonObject, StoredChat


def put(database: Database, record: StoredChat, expires: float) -> None:
    """Write a completion, or write it anew."""
    completion = record.completion
    database.execute(
        "INSERT INTO chats (id, created, expires, model, body, messages) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET created = excluded.created, "
        "expires = excluded.expires, model = excluded.model, body = excluded.body, "
        "messages = excluded.messages",
        (
            completion["id"],
            completion["created"],
            expires,
            completion["model"],
            orjson.dumps(completion),
            orjson.dumps(record.messages),
        ),
    )


def get(database: Database, completion_id: str, now: float) -> StoredChat | None:
    """A completion that has not expired."""
    row = database.execute(
        "SELECT body, messages FROM chats WHERE id = ? AND expires > ?", (completion_id, now)
    ).fetchone()
    if row is None:
        return None
    return StoredChat(completion=orjson.loads(row[0]), messages=orjson.loads(row[1]))


def delete(database: Database, completion_id: str) -> bool:
    """Remove a completion; whether there was one."""
    return database.execute("DELETE FROM chats WHERE id = ?", (completion_id,)).rowcount > 0


def find(
    database: Database, model: str | None, metadata: Mapping[str, str], now: float
) -> list[JsonObject]:
    """Completions of a model and with all of some metadata, oldest first."""
    rows = database.execute(
        "SELECT body FROM chats WHERE expires > ? AND (CAST(? AS TEXT) IS NULL OR model = ?) "
        "ORDER BY created, id",
        (now, model, model),
    )
    completions = (orjson.loads(body) for (body,) in rows)
    return [one for one in completions if metadata.items() <= (one.get("metadata") or {}).items()]

"""Items of responses and conversations: found by their owner, or by their own id."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from ossia.server.store.database import Database
from ossia.server.store.interface import JsonObject

# A replayed item keeps the id it once had, so an id may be there more than once: the latest counts.
_BY_ID = """
    SELECT items.body, items.is_output, responses.body FROM items
    LEFT JOIN responses ON responses.id = items.owner
    WHERE items.id = ? ORDER BY items.sequence DESC LIMIT 1
"""


def add(database: Database, owner: str, items: Iterable[JsonObject]) -> None:
    """Put items behind those that the owner has."""
    database.executemany(
        "INSERT INTO items (owner, id, is_output, body) VALUES (?, ?, 0, ?)",
        [(owner, item["id"], orjson.dumps(item)) for item in items],
    )


def replace(
    database: Database,
    owner: str,
    inputs: Iterable[JsonObject],
    outputs: Iterable[JsonObject],
) -> None:
    """Make these the items of a response; outputs are only pointed at, its body holds them."""
    remove(database, owner)
    add(database, owner, inputs)
    database.executemany(
        "INSERT INTO items (owner, id, is_output) VALUES (?, ?, 1)",
        [(owner, item["id"]) for item in outputs if item.get("id")],
    )


def inputs_of(database: Database, owner: str) -> list[JsonObject]:
    """The owner's own items, oldest first; not a response's outputs."""
    rows = database.execute(
        "SELECT body FROM items WHERE owner = ? AND is_output = 0 ORDER BY sequence", (owner,)
    )
    return [orjson.loads(body) for (body,) in rows]


def find(database: Database, item_id: str) -> JsonObject | None:
    """The latest item of an id, whoever owns it."""
    row = database.execute(_BY_ID, (item_id,)).fetchone()
    if row is None:
        return None
    body, is_output, response = row
    if not is_output:
        return orjson.loads(body)
    outputs = orjson.loads(response)["output"] if response is not None else []
    return next((item for item in outputs if item.get("id") == item_id), None)


def remove(database: Database, owner: str) -> None:
    """Remove all that an owner has."""
    database.execute("DELETE FROM items WHERE owner = ?", (owner,))


def remove_one(database: Database, owner: str, item_id: str) -> bool:
    """Remove one of an owner's own items; whether it was there."""
    deleted = database.execute("DELETE FROM items WHERE owner = ? AND id = ?", (owner, item_id))
    return deleted.rowcount > 0

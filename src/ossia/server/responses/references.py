"""Items that are given by their id only, found in the store."""

from __future__ import annotations

from collections.abc import Sequence

from ossia.server.api_error import ApiError
from ossia.server.responses.items import as_object, kind_of
from ossia.server.responses.search_steps import without_step
from ossia.server.store.interface import JsonObject, Store


async def resolved(
    items: Sequence[object], store: Store | None, *, where: str = "input"
) -> list[JsonObject]:
    """The items, with those that stand for stored ones replaced by them.

    That is `item_reference`, reasoning that says nothing but its id, and searches of this server,
    of which the store knows what they have found.

    Args:
        items: As the client sent them.
        store: Where to look; None has nothing.
        where: The field of the request that holds the items.

    Raises:
        ApiError: an item is malformed, or there is none with the id.
    """
    return [
        await _resolved(raw, f"{where}[{position}]", store) for position, raw in enumerate(items)
    ]


async def _resolved(given: object, path: str, store: Store | None) -> JsonObject:
    raw = without_step(as_object(given, path))
    kind = kind_of(raw, path)
    if kind == "item_reference":
        item_id = raw.get("id")
        if not isinstance(item_id, str):
            where = f"{path}.id"
            raise ApiError(f"Invalid value for '{where}': it must be a string.", param=where)
        return await _stored(item_id, path, store)
    if kind == "reasoning" and not any(
        raw.get(name) for name in ("content", "encrypted_content", "summary")
    ):
        known = await _find(raw.get("id"), store)
        return raw if known is None or known.get("type") != "reasoning" else known
    if kind == "web_search_call":
        known = await _find(raw.get("id"), store)
        return raw if known is None or known.get("type") != kind else known
    return raw


async def _stored(item_id: str, path: str, store: Store | None) -> JsonObject:
    item = await _find(item_id, store)
    if item is None:
        raise ApiError.not_found(
            f"Item with id '{item_id[:128]}' not found. Items are kept only of responses with "
            "'store' set to true.",
            param=path,
            code="item_not_found",
        )
    return item


async def _find(item_id: object, store: Store | None) -> JsonObject | None:
    if store is None or not isinstance(item_id, str):
        return None
    return await store.get_item(item_id)

"""Pages of lists, as the hosted API gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from starlette.datastructures import QueryParams

from ossia.server.api_error import ApiError
from ossia.server.openapi.operation import Query

JsonObject = dict[str, Any]

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 100


def page_of(
    items: Sequence[JsonObject], query: QueryParams, *, default_order: str = "desc"
) -> JsonObject:
    """The list object for the page that a query asks for.

    Args:
        items: All there are, oldest first.
        query: May hold `limit` (1 to 100), `order` (asc, desc) and `after`, an item's id.
        default_order: Where the query names none.

    Raises:
        ApiError: a member of the query is out of range, or there is no such item.
    """
    limit = whole_number(query, "limit", _DEFAULT_LIMIT, 1, _MAX_LIMIT)
    order = query.get("order", default_order)
    if order not in ("asc", "desc"):
        raise _invalid("order", "it must be 'asc' or 'desc'")
    ordered = list(items) if order == "asc" else list(reversed(items))
    if (after := query.get("after")) is not None:
        place = next((i for i, item in enumerate(ordered) if item["id"] == after), None)
        if place is None:
            raise _invalid("after", f"there is no item with the id {after[:128]!r}")
        ordered = ordered[place + 1 :]
    page = ordered[:limit]
    return list_object(page, has_more=len(ordered) > limit)


def page_query(*, default_order: str = "desc") -> tuple[Query, ...]:
    """What `page_of` reads of a query, for the document."""
    limit = {
        "type": "integer",
        "minimum": 1,
        "maximum": _MAX_LIMIT,
        "default": _DEFAULT_LIMIT,
    }
    order = {"type": "string", "enum": ["asc", "desc"], "default": default_order}
    return (
        Query("limit", limit, "How many at most."),
        Query("order", order, "By the time at which they were made."),
        Query("after", {"type": "string"}, "The id of the last one of the page before."),
    )


def list_object(items: Sequence[JsonObject], *, has_more: bool = False) -> JsonObject:
    """Items as a list object."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def whole_number(query: QueryParams, name: str, default: int, least: int, most: int) -> int:
    """A number of a query.

    Raises:
        ApiError: it is none, or out of range.
    """
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise _invalid(name, f"it must be a whole number from {least} to {most}")


def _invalid(name: str, why: str) -> ApiError:
    return ApiError(f"Invalid value for '{name}': {why}.", param=name)

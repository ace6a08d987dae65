"""Store: what every place that keeps responses can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response and what led to it.

    Args:
        response: The response object as clients get it; holds `id`, `status` and `output`.
        input_items: What the request added, as items that have ids, oldest first.
        previous_response_id: The response that it goes on from.
        conversation_id: The conversation that it belongs to.
    """

    response: JsonObject
    input_items: list[JsonObject] = field(default_factory=list[JsonObject])
    previous_response_id: str | None = None
    conversation_id: str | None = None

    @property
    def response_id(self) -> str:
        """Its id."""
        return self.response["id"]


class Store(Protocol):
    """Keeps responses and conversations. Writes are acknowledged when they are durable."""

    async def put_response(self, record: StoredResponse) -> None:
        """Write a response, or write it anew."""
        ...

    async def get_response(self, response_id: str) -> StoredResponse | None:
        """A response; None if there is none (any more)."""
        ...

    async def delete_response(self, response_id: str) -> bool:
        """Remove a response, its items and events; whether there was one."""
        ...

    async def get_item(self, item_id: str) -> JsonObject | None:
        """An input or output item of any stored response or conversation."""
        ...

    async def append_events(self, response_id: str, events: Sequence[JsonObject]) -> None:
        """Keep streamed events; each holds its `sequence_number`."""
        ...

    async def get_events(self, response_id: str, after: int = -1) -> list[JsonObject]:
        """Events with a higher sequence number, in order."""
        ...

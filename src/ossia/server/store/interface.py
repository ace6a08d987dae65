"""Store: what every place that keeps responses can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        events: Of its stream, in order, to be written with it; they are read by `get_events`.
        gained: Items that its conversation gains as it is first written as completed; they are
            read by `get_items`.
    """

    response: JsonObject
    input_items: list[JsonObject] = field(default_factory=list[JsonObject])
    previous_response_id: str | None = None
    conversation_id: str | None = None
    events: Sequence[JsonObject] = ()
    gained: Sequence[JsonObject] = ()

    @property
    def response_id(self) -> str:
        """Its id."""
        return self.response["id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChat:
    """A chat completion that was to be kept.

    Args:
        completion: The chat completion object; holds `id`, `model`, `created` and `metadata`.
        messages: The chat that it answers.
    """

    completion: JsonObject
    messages: list[JsonObject]


class Store(Protocol):
    """Keeps responses, conversations and chat completions.

    Writes are acknowledged when they are durable.

    Raises:
        StoreError: from any method, if what lies beneath fails.
    """

    @property
    def shared_key(self) -> bytes | None:
        """32 secret bytes that all servers of this store know; None if it is of one server only."""
        ...

    async def put_response(self, record: StoredResponse) -> None:
        """Write a response, or write it anew: all of it, or nothing."""
        ...

    async def get_response(self, response_id: str) -> StoredResponse | None:
        """A response; None if there is none (any more)."""
        ...

    async def delete_response(self, response_id: str) -> bool:
        """Remove a response, its items and events; whether there was one."""
        ...

    async def get_item(self, item_id: str) -> JsonObject | None:
        """An input or output item of any stored response or conversation, the latest of its id."""
        ...

    async def get_events(self, response_id: str, after: int = -1) -> list[JsonObject]:
        """Events with a higher sequence number, in order."""
        ...

    async def put_conversation(self, conversation: JsonObject) -> None:
        """Write a conversation object (`id`, `created_at`, `metadata`), or write it anew."""
        ...

    async def get_conversation(self, conversation_id: str) -> JsonObject | None:
        """A conversation object; None if there is none."""
        ...

    async def delete_conversation(self, conversation_id: str) -> bool:
        """Remove a conversation; its items go with it, responses stay. Whether there was one."""
        ...

    async def add_items(self, conversation_id: str, items: Sequence[JsonObject]) -> None:
        """Put items that have ids behind those of a conversation."""
        ...

    async def get_items(self, conversation_id: str) -> list[JsonObject]:
        """All items of a conversation, oldest first."""
        ...

    async def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """Take one item out of a conversation; whether it was there."""
        ...

    async def put_chat(self, record: StoredChat) -> None:
        """Write a chat completion, or write it anew."""
        ...

    async def get_chat(self, completion_id: str) -> StoredChat | None:
        """A chat completion; None if there is none."""
        ...

    async def delete_chat(self, completion_id: str) -> bool:
        """Remove a chat completion; whether there was one."""
        ...

    async def list_chats(
        self, *, model: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> list[JsonObject]:
        """Completion objects, oldest first, of a model and with all of some metadata."""
        ...

    async def close(self) -> None:
        """Finish what was begun; nothing may be asked of it afterwards."""
        ...

"""SqlStore: the Store over tables, wherever these lie."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ossia.server.store import chats_table, conversations_table, items_table, responses_table
from ossia.server.store.database import Database
from ossia.server.store.interface import JsonObject, StoredChat, StoredResponse

T = TypeVar("T")


class SqlStore:
    """Everything that a store can do, in terms of reading and writing tables.

    A subclass says where a job runs. Jobs of one key are done in the order in which they came.

    Args:
        ttl: Seconds that things live from when they are written.
        clock: Seconds since 1970.
    """

    def __init__(self, *, ttl: float, clock: Callable[[], float] = time.time) -> None:
        self._ttl = ttl
        self._clock = clock

    @property
    def shared_key(self) -> bytes | None:
        """As Store says."""
        return None

    async def put_response(self, record: StoredResponse) -> None:
        """As Store says."""
        await self._write(
            record.response_id, lambda db: responses_table.put(db, record, self._expiry())
        )

    async def get_response(self, response_id: str) -> StoredResponse | None:
        """As Store says."""
        return await self._read(
            response_id, lambda db: responses_table.get(db, response_id, self._clock())
        )

    async def delete_response(self, response_id: str) -> bool:
        """As Store says."""
        return await self._write(response_id, lambda db: responses_table.delete(db, response_id))

    async def get_item(self, item_id: str) -> JsonObject | None:
        """As Store says."""
        return await self._read(item_id, lambda db: items_table.find(db, item_id))

    async def get_events(self, response_id: str, after: int = -1) -> list[JsonObject]:
        """As Store says."""
        return await self._read(
            response_id, lambda db: responses_table.get_events(db, response_id, after)
        )

    async def put_conversation(self, conversation: JsonObject) -> None:
        """As Store says."""
        await self._write(
            conversation["id"],
            lambda db: conversations_table.put(db, conversation, self._expiry()),
        )

    async def get_conversation(self, conversation_id: str) -> JsonObject | None:
        """As Store says."""
        return await self._read(
            conversation_id,
            lambda db: conversations_table.get(db, conversation_id, self._clock()),
        )

    async def delete_conversation(self, conversation_id: str) -> bool:
        """As Store says."""
        return await self._write(
            conversation_id, lambda db: conversations_table.delete(db, conversation_id)
        )

    async def add_items(self, conversation_id: str, items: Sequence[JsonObject]) -> None:
        """As Store says."""
        await self._write(
            conversation_id,
            lambda db: conversations_table.add_items(db, conversation_id, items, self._expiry()),
        )

    async def get_items(self, conversation_id: str) -> list[JsonObject]:
        """As Store says."""
        return await self._read(
            conversation_id, lambda db: items_table.inputs_of(db, conversation_id)
        )

    async def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """As Store says."""
        return await self._write(
            conversation_id, lambda db: items_table.remove_one(db, conversation_id, item_id)
        )

    async def put_chat(self, record: StoredChat) -> None:
        """As Store says."""
        await self._write(
            record.completion["id"], lambda db: chats_table.put(db, record, self._expiry())
        )

    async def get_chat(self, completion_id: str) -> StoredChat | None:
        """As Store says."""
        return await self._read(
            completion_id, lambda db: chats_table.get(db, completion_id, self._clock())
        )

    async def delete_chat(self, completion_id: str) -> bool:
        """As Store says."""
        return await self._write(completion_id, lambda db: chats_table.delete(db, completion_id))

    async def list_chats(
        self, *, model: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> list[JsonObject]:
        """As Store says."""
        return await self._read(
            "", lambda db: chats_table.find(db, model, metadata or {}, self._clock())
        )

    async def _read(self, key: str, job: Callable[[Database], T]) -> T:
        """Run a job that changes nothing."""
        raise NotImplementedError

    async def _write(self, key: str, job: Callable[[Database], T]) -> T:
        """Run a job, and come back when what it did is durable."""
        raise NotImplementedError

    def _expiry(self) -> float:
        return self._clock() + self._ttl

"""What a request goes on from: a previous response, or a conversation."""

from __future__ import annotations

from typing import Final

from ossia.server.api_error import ApiError
from ossia.server.responses.schemas import PromptRequest
from ossia.server.store import JsonObject, Store, StoredResponse

_RUNNING: Final = frozenset({"queued", "in_progress"})
_PREVIOUS: Final = "previous_response_id"


async def history_of(request: PromptRequest, store: Store | None) -> list[JsonObject]:
    """The items that come before a request's input, oldest first.

    Args:
        request: Names a previous response, a conversation, or neither.
        store: Where they are; None has nothing.

    Raises:
        ApiError: there is none of that id, or it has not ended yet.
    """
    if request.previous_response_id is not None:
        return await _before(request.previous_response_id, store)
    conversation_id = request.conversation_id
    if conversation_id is None:
        return []
    if store is None or await store.get_conversation(conversation_id) is None:
        raise ApiError.not_found(
            f"Conversation with id '{conversation_id[:128]}' not found.", param="conversation"
        )
    return await store.get_items(conversation_id)


async def _before(response_id: str, store: Store | None) -> list[JsonObject]:
    """All that led to a response, and its output."""
    record = await _record(response_id, store)
    if record.response["status"] in _RUNNING:
        raise ApiError(
            f"Response '{response_id[:128]}' has not ended yet; wait for it.", param=_PREVIOUS
        )
    newest_first = [_own_items(record)]
    while record.previous_response_id is not None:
        record = await _record(record.previous_response_id, store)
        newest_first.append(_own_items(record))
    if record.conversation_id is not None:
        newest_first.append(await _conversation_before(record, record.conversation_id, store))
    return [item for items in reversed(newest_first) for item in items]


def _own_items(record: StoredResponse) -> list[JsonObject]:
    return [*record.input_items, *record.response["output"]]


async def _conversation_before(
    record: StoredResponse, conversation_id: str, store: Store | None
) -> list[JsonObject]:
    """What stood in a response's conversation before its own items."""
    assert store is not None, "the response came from there"
    own = {item["id"] for item in _own_items(record)}
    items = await store.get_items(conversation_id)
    begin = next((i for i, item in enumerate(items) if item["id"] in own), 0)
    return items[:begin]


async def _record(response_id: str, store: Store | None) -> StoredResponse:
    record = None if store is None else await store.get_response(response_id)
    if record is None:
        raise ApiError(
            f"Previous response with id '{response_id[:128]}' not found. Only responses with "
            "'store' set to true can be gone on from.",
            param=_PREVIOUS,
            code="previous_response_not_found",
        )
    return record

"""The eight operations on /v1/conversations and their items."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ossia.server.api_error import ApiError
from ossia.server.body import parse
from ossia.server.conversations import operations
from ossia.server.conversations.operations import ChangedConversation, NewConversation, NewItems
from ossia.server.json_response import JsonResponse
from ossia.server.openapi.operation import ApiRoute
from ossia.server.paging import list_object, page_of
from ossia.server.responses.contents import OnImages
from ossia.server.responses.ids import new_id
from ossia.server.responses.items import check_item
from ossia.server.responses.keeping import asks_for_sealed, listed_item
from ossia.server.responses.objects import stored_item
from ossia.server.responses.references import resolved
from ossia.server.responses.search_steps import without_step
from ossia.server.state import ServerState
from ossia.server.store import JsonObject, Store

_CONVERSATION: Final = "/v1/conversations/{conversation_id}"
_ITEMS: Final = _CONVERSATION + "/items"
_ITEM: Final = _ITEMS + "/{item_id}"


def routes(state: ServerState) -> list[BaseRoute]:
    """The routes over a server's state; none where nothing is kept."""
    return [] if state.store is None else Conversations(state.store, state.settings.images).routes()


class Conversations:
    """The operations, over a store.

    Args:
        store: Holds the conversations.
        on_images: What to do with images and files in items.
    """

    def __init__(self, store: Store, on_images: OnImages) -> None:
        self._store = store
        self._on_images: OnImages = on_images

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        return [
            ApiRoute("/v1/conversations", self._create, operations.CREATE, method="POST"),
            ApiRoute(_CONVERSATION, self._retrieve, operations.RETRIEVE),
            ApiRoute(_CONVERSATION, self._update, operations.UPDATE, method="POST"),
            ApiRoute(_CONVERSATION, self._delete, operations.DELETE, method="DELETE"),
            ApiRoute(_ITEMS, self._add_items, operations.ADD_ITEMS, method="POST"),
            ApiRoute(_ITEMS, self._list_items, operations.LIST_ITEMS),
            ApiRoute(_ITEM, self._retrieve_item, operations.RETRIEVE_ITEM),
            ApiRoute(_ITEM, self._delete_item, operations.DELETE_ITEM, method="DELETE"),
        ]

    async def _create(self, request: Request) -> Response:
        body = await parse(request, NewConversation)
        items = await self._read(body.items or [])
        conversation = {
            "id": new_id("conv"),
            "object": "conversation",
            "created_at": int(time.time()),
            "metadata": body.metadata or {},
        }
        await self._store.put_conversation(conversation)
        if items:
            await self._store.add_items(conversation["id"], items)
        return JsonResponse(conversation)

    async def _retrieve(self, request: Request) -> Response:
        return JsonResponse(await self._found(request))

    async def _update(self, request: Request) -> Response:
        body = await parse(request, ChangedConversation)
        conversation = await self._found(request) | {"metadata": body.metadata}
        await self._store.put_conversation(conversation)
        return JsonResponse(conversation)

    async def _delete(self, request: Request) -> Response:
        conversation = await self._found(request)
        await self._store.delete_conversation(conversation["id"])
        return JsonResponse(
            {"id": conversation["id"], "object": "conversation.deleted", "deleted": True}
        )

    async def _add_items(self, request: Request) -> Response:
        body = await parse(request, NewItems)
        conversation = await self._found(request)
        items = await self._read(body.items)
        await self._store.add_items(conversation["id"], items)
        return JsonResponse(list_object([without_step(item) for item in items]))

    async def _list_items(self, request: Request) -> Response:
        conversation = await self._found(request)
        items = await self._store.get_items(conversation["id"])
        sealed = asks_for_sealed(request.query_params)
        listed = [listed_item(item, sealed=sealed) for item in items]
        return JsonResponse(page_of(listed, request.query_params))

    async def _retrieve_item(self, request: Request) -> Response:
        conversation = await self._found(request)
        item_id = request.path_params["item_id"]
        sealed = asks_for_sealed(request.query_params)
        for item in await self._store.get_items(conversation["id"]):
            if item["id"] == item_id:
                return JsonResponse(listed_item(item, sealed=sealed))
        raise _no_item(item_id)

    async def _delete_item(self, request: Request) -> Response:
        conversation = await self._found(request)
        item_id = request.path_params["item_id"]
        if not await self._store.delete_item(conversation["id"], item_id):
            raise _no_item(item_id)
        return JsonResponse(conversation)

    async def _found(self, request: Request) -> JsonObject:
        conversation_id = request.path_params["conversation_id"]
        conversation = await self._store.get_conversation(conversation_id)
        if conversation is None:
            raise ApiError.not_found(f"Conversation with id '{conversation_id[:128]}' not found.")
        return conversation

    async def _read(self, raw: list[dict[str, Any]]) -> list[JsonObject]:
        """Items as they are kept, each checked."""
        items: list[JsonObject] = []
        for position, item in enumerate(await resolved(raw, self._store, where="items")):
            path = f"items[{position}]"
            check_item(item, path, self._on_images)
            items.append(stored_item(item, path))
        return items


def _no_item(item_id: str) -> ApiError:
    return ApiError.not_found(f"Item with id '{item_id[:128]}' not found in this conversation.")

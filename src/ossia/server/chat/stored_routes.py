"""Routes for chat completions that were to be kept: list, retrieve, change, delete, messages."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel, parse
from ossia.server.chat.answers import ChatCompletion, DeletedChat, StoredMessage
from ossia.server.json_response import JsonResponse
from ossia.server.metadata import Metadata
from ossia.server.openapi.answers import ListPage
from ossia.server.openapi.operation import ApiRoute, Operation, Query
from ossia.server.paging import page_of, page_query
from ossia.server.state import ServerState
from ossia.server.store import JsonObject, Store, StoredChat

_ALL: Final = "/v1/chat/completions"
_ONE: Final = _ALL + "/{completion_id}"
_METADATA: Final = re.compile(r"metadata\[([^\[\]]+)\]")


class ChangedChat(RequestModel):
    """The body that changes a completion: only what its owner attached to it."""

    metadata: Metadata


_LIST = Operation(
    name="listChatCompletions",
    summary="List stored chat completions.",
    tag="Chat",
    answer=ListPage[ChatCompletion],
    query=(
        *page_query(default_order="asc"),
        Query("model", {"type": "string"}, "Only those of this model."),
        Query(
            "metadata",
            {
                "type": "object",
                "propertyNames": {"pattern": r"^[^\[\]]+$"},
                "additionalProperties": {"type": "string"},
            },
            "Only those with these pairs, written as `metadata[name]=value`.",
            style="deepObject",
        ),
    ),
)
_RETRIEVE = Operation(
    name="getChatCompletion",
    summary="Retrieve a stored chat completion.",
    tag="Chat",
    answer=ChatCompletion,
)
_UPDATE = Operation(
    name="updateChatCompletion",
    summary="Replace the metadata of a stored chat completion.",
    tag="Chat",
    body=(ChangedChat,),
    answer=ChatCompletion,
)
_DELETE = Operation(
    name="deleteChatCompletion",
    summary="Delete a stored chat completion.",
    tag="Chat",
    answer=DeletedChat,
)
_MESSAGES = Operation(
    name="listChatCompletionMessages",
    summary="List the messages that a stored chat completion answers.",
    tag="Chat",
    answer=ListPage[StoredMessage],
    query=page_query(default_order="asc"),
)


def routes(state: ServerState) -> list[BaseRoute]:
    """The routes over a server's state; none where nothing is kept."""
    return [] if state.store is None else StoredChats(state.store).routes()


class StoredChats:
    """The operations, over a store.

    Args:
        store: Holds the completions.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        return [
            ApiRoute(_ALL, self._list, _LIST),
            ApiRoute(_ONE, self._retrieve, _RETRIEVE),
            ApiRoute(_ONE, self._update, _UPDATE, method="POST"),
            ApiRoute(_ONE, self._delete, _DELETE, method="DELETE"),
            ApiRoute(_ONE + "/messages", self._messages, _MESSAGES),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        completions = await self._store.list_chats(
            model=query.get("model"), metadata=_wanted_metadata(query)
        )
        return JsonResponse(page_of(completions, query, default_order="asc"))

    async def _retrieve(self, request: Request) -> Response:
        return JsonResponse((await self._found(request)).completion)

    async def _update(self, request: Request) -> Response:
        body = await parse(request, ChangedChat)
        record = await self._found(request)
        completion = record.completion | {"metadata": body.metadata}
        await self._store.put_chat(StoredChat(completion=completion, messages=record.messages))
        return JsonResponse(completion)

    async def _delete(self, request: Request) -> Response:
        completion_id = request.path_params["completion_id"]
        if not await self._store.delete_chat(completion_id):
            raise _not_found(completion_id)
        return JsonResponse(
            {"id": completion_id, "object": "chat.completion.deleted", "deleted": True}
        )

    async def _messages(self, request: Request) -> Response:
        record = await self._found(request)
        messages = [
            _listed_message(f"{record.completion['id']}-{place}", message)
            for place, message in enumerate(record.messages)
        ]
        return JsonResponse(page_of(messages, request.query_params, default_order="asc"))

    async def _found(self, request: Request) -> StoredChat:
        completion_id = request.path_params["completion_id"]
        record = await self._store.get_chat(completion_id)
        if record is None:
            raise _not_found(completion_id)
        return record


def _wanted_metadata(query: QueryParams) -> dict[str, str]:
    """The pairs that clients write as `metadata[name]=value`.

    Raises:
        ApiError: a name is empty, in no brackets, or in several.
    """
    wanted: dict[str, str] = {}
    for name, value in query.items():
        if (match := _METADATA.fullmatch(name)) is not None:
            wanted[match[1]] = value
        elif name.startswith("metadata"):
            raise ApiError(
                "Invalid value for 'metadata': write `metadata[name]=value`.", param="metadata"
            )
    return wanted


def _listed_message(message_id: str, message: JsonObject) -> JsonObject:
    """A message with an id; a content in parts as text, and its parts beside it."""
    content: Any = message.get("content")
    parts = content if isinstance(content, list) else None
    if parts is not None:
        content = "".join(part.get("text") or "" for part in parts)
    return message | {"id": message_id, "content": content, "content_parts": parts}


def _not_found(completion_id: str) -> ApiError:
    return ApiError.not_found(f"There is no stored chat completion {completion_id[:128]!r}.")

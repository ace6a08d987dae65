"""Routes for chat completions that were to be kept: list, retrieve, change, delete, messages."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel, parse
from ossia.server.json_response import JsonResponse
from ossia.server.metadata import check_metadata
from ossia.server.paging import page_of
from ossia.server.state import ServerState
from ossia.server.store import JsonObject, Store, StoredChat

_ALL: Final = "/v1/chat/completions"
_ONE: Final = _ALL + "/{completion_id}"
_METADATA: Final = re.compile(r"metadata\[(.+)\]")


class ChangedChat(RequestModel):
    """The body that changes a completion: only what its owner attached to it."""

    metadata: dict[str, str]


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
            Route(_ALL, self._list, methods=["GET"]),
            Route(_ONE, self._retrieve, methods=["GET"]),
            Route(_ONE, self._update, methods=["POST"]),
            Route(_ONE, self._delete, methods=["DELETE"]),
            Route(_ONE + "/messages", self._messages, methods=["GET"]),
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
        check_metadata(body.metadata)
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
    """The pairs that clients write as `metadata[name]=value`."""
    found = ((_METADATA.fullmatch(name), value) for name, value in query.items())
    return {match[1]: value for match, value in found if match is not None}


def _listed_message(message_id: str, message: JsonObject) -> JsonObject:
    """A message with an id; a content in parts as text, and its parts beside it."""
    content: Any = message.get("content")
    parts = content if isinstance(content, list) else None
    if parts is not None:
        content = "".join(part.get("text") or "" for part in parts)
    return message | {"id": message_id, "content": content, "content_parts": parts}


def _not_found(completion_id: str) -> ApiError:
    return ApiError.not_found(f"There is no stored chat completion {completion_id[:128]!r}.")

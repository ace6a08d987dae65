"""Routes for responses that are stored or in the making: retrieve, resume, cancel, delete, list."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from ossia.server import sse
from ossia.server.api_error import ApiError
from ossia.server.json_response import JsonResponse
from ossia.server.openapi.operation import ApiRoute
from ossia.server.paging import page_of, whole_number
from ossia.server.responses import operations
from ossia.server.responses.event_log import JsonObject
from ossia.server.responses.keeping import as_listed, asks_for_sealed, listed_item
from ossia.server.responses.obfuscation import obfuscated
from ossia.server.state import ServerState
from ossia.server.store import Store, StoredResponse

_RESPONSE: Final = "/v1/responses/{response_id}"
_LAST: Final = 2**53  # beyond what any stream reaches


def routes(state: ServerState) -> list[BaseRoute]:
    """The routes over a server's state."""

    async def retrieve(request: Request) -> ASGIApp:
        response_id = request.path_params["response_id"]
        after = whole_number(request.query_params, "starting_after", -1, 0, _LAST)
        obfuscates = _is_true(request, "include_obfuscation")
        if _is_true(request, "stream"):
            batches = await _batches(state, response_id, after)
            pieces = stream_pieces(batches, obfuscates=obfuscates)
            return sse.EventStream(pieces, keep_alive=state.settings.keep_alive)
        sealed = asks_for_sealed(request.query_params)
        if (active := await state.active.running(response_id)) is not None:
            return JsonResponse(active.fold.response)
        record = await _record(state.store, response_id)
        return JsonResponse(as_listed(record.response, sealed=sealed))

    async def delete(request: Request) -> Response:
        response_id = request.path_params["response_id"]
        if (active := state.active.get(response_id)) is not None:
            await active.close()
        else:
            _check_made_here(await _record(state.store, response_id), "deleted")
        if state.store is None or not await state.store.delete_response(response_id):
            raise _not_found(response_id)
        return JsonResponse({"id": response_id, "object": "response", "deleted": True})

    async def cancel(request: Request) -> Response:
        response_id = request.path_params["response_id"]
        active = state.active.get(response_id)
        if active is not None:
            _check_background(active.fold.response)
            await active.close()
        record = await _record(state.store, response_id)
        _check_background(record.response)
        _check_made_here(record, "cancelled")
        return JsonResponse(as_listed(record.response, sealed=False))

    async def input_items(request: Request) -> Response:
        record = await _record(state.store, request.path_params["response_id"])
        listed = [
            listed_item(item, sealed=asks_for_sealed(request.query_params))
            for item in record.input_items
        ]
        return JsonResponse(page_of(listed, request.query_params))

    return [
        ApiRoute(_RESPONSE, retrieve, operations.RETRIEVE),
        ApiRoute(_RESPONSE, delete, operations.DELETE, method="DELETE"),
        ApiRoute(f"{_RESPONSE}/cancel", cancel, operations.CANCEL, method="POST"),
        ApiRoute(f"{_RESPONSE}/input_items", input_items, operations.INPUT_ITEMS),
    ]


async def stream_pieces(
    batches: AsyncGenerator[list[JsonObject], None], *, obfuscates: bool = False
) -> AsyncGenerator[bytes, None]:
    """Events as server-sent events, up to `[DONE]`."""
    async for batch in batches:
        events = obfuscated(batch) if obfuscates else batch
        yield b"".join([sse.event(event, event["type"]) for event in events])
    yield sse.DONE


async def _batches(
    state: ServerState, response_id: str, after: int
) -> AsyncGenerator[list[JsonObject], None]:
    """The events of a response behind one of them, whether it is being made or stored."""
    if (active := state.active.get(response_id)) is not None:
        return active.batches(after)
    record = await _record(state.store, response_id)
    assert state.store is not None, "the record came from there"
    events = await state.store.get_events(response_id)
    if not events:
        _check_made_here(record, "streamed")
        raise ApiError(
            f"Response '{response_id[:128]}' cannot be streamed, since it was neither streamed nor "
            "made in the background; retrieve it without 'stream'.",
            param="stream",
        )
    return _one_batch(events[after + 1 :])


async def _one_batch(events: list[JsonObject]) -> AsyncGenerator[list[JsonObject], None]:
    if events:
        yield events


async def _record(store: Store | None, response_id: str) -> StoredResponse:
    record = None if store is None else await store.get_response(response_id)
    if record is None:
        raise _not_found(response_id)
    return record


def _not_found(response_id: str) -> ApiError:
    return ApiError.not_found(f"Response with id '{response_id[:128]}' not found.")


def _check_made_here(record: StoredResponse, what: str) -> None:
    """Of a response that is not being made here: that it is not being made elsewhere."""
    if record.response["status"] in ("queued", "in_progress"):
        raise ApiError(
            f"Response '{record.response_id[:128]}' is being made by another server of this store, "
            f"or its server has just ended; it can be {what} here once it has ended.",
            status=409,
            code="response_made_elsewhere",
        )


def _check_background(response: JsonObject) -> None:
    if not response["background"]:
        raise ApiError(
            "Only responses with 'background' set to true can be cancelled; close the connection "
            "of this one."
        )


def _is_true(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "false")
    if given not in ("true", "false", "True", "False"):
        raise ApiError(f"Invalid value for '{name}': it must be true or false.", param=name)
    return given in ("true", "True")

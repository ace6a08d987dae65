"""The routes of the Responses API that answer: POST /v1/responses, its input_tokens and compact."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from ossia.errors import HarmonyError
from ossia.server import sse
from ossia.server.api_error import ApiError
from ossia.server.body import parse
from ossia.server.disconnect import unless_gone
from ossia.server.json_response import JsonResponse
from ossia.server.openapi.operation import ApiRoute
from ossia.server.responses import operations, websocket
from ossia.server.responses.compaction import compact
from ossia.server.responses.continuation import history_of
from ossia.server.responses.direct_stream import DirectStream
from ossia.server.responses.fold import TIMED_OUT
from ossia.server.responses.intake import read_prompt
from ossia.server.responses.operations import NOTES_HEADER
from ossia.server.responses.running import Making, start
from ossia.server.responses.schemas import CompactRequest, CountRequest, ResponseRequest
from ossia.server.responses.stored_routes import stream_pieces
from ossia.server.responses.surroundings import Surroundings
from ossia.server.responses.truncation import prompt_length
from ossia.server.state import ServerState

_MAX_NOTES: Final = 1024  # characters


def routes(state: ServerState) -> list[BaseRoute]:
    """Those that answer."""
    around = Surroundings.of(state)

    async def create(request: Request) -> ASGIApp:
        body = await parse(request, ResponseRequest)
        making, intake = await start(body, around)
        headers = notes_headers(intake.prompt.notes)
        if body.stream:
            obfuscates = body.stream_options is not None and body.stream_options.include_obfuscation
            pieces = stream_pieces(making.batches(), obfuscates=bool(obfuscates))
            if body.background:
                return sse.EventStream(
                    pieces, keep_alive=state.settings.keep_alive, headers=headers
                )
            return DirectStream(
                making,
                pieces,
                keep_alive=state.settings.keep_alive,
                headers=headers,
            )
        if body.background:
            if making.fold.over:  # so soon; it is not to be told before it is stored
                await making.finished()
            return JsonResponse(making.fold.response, headers=headers)
        return await _whole(request, making, headers)

    async def count(request: Request) -> Response:
        body = await parse(request, CountRequest)
        if body.personality is not None:
            raise ApiError(
                "Invalid value for 'personality': gpt-oss has no presets of style; say it in "
                "'instructions'.",
                param="personality",
                code="unsupported",
            )
        prompt = await read_prompt(body, around, await history_of(body, around.store))
        try:
            num_tokens = await asyncio.to_thread(prompt_length, prompt.messages, around.renderer)
        except HarmonyError as error:
            raise ApiError.of(error) from None
        return JsonResponse({"object": "response.input_tokens", "input_tokens": num_tokens})

    async def shorten(request: Request) -> Response:
        body = await parse(request, CompactRequest)
        compacted = await unless_gone(request, compact(body, around))
        return JsonResponse(compacted.response, headers=notes_headers(compacted.notes))

    return [
        ApiRoute("/v1/responses", create, operations.CREATE, method="POST"),
        ApiRoute("/v1/responses/compact", shorten, operations.COMPACT, method="POST"),
        ApiRoute("/v1/responses/input_tokens", count, operations.COUNT, method="POST"),
        *websocket.routes_over(around),
    ]


def notes_headers(notes: tuple[str, ...]) -> dict[str, str]:
    """The headers that tell what was left out."""
    text = ", ".join(notes)[:_MAX_NOTES]
    return {NOTES_HEADER: text} if text else {}


async def _whole(request: Request, making: Making, headers: dict[str, str]) -> Response:
    """The response once it is complete; it ends early if the client goes away."""
    try:
        await unless_gone(request, making.finished())
    finally:
        await making.close()
    error = making.fold.error
    if error is not None and error.status != TIMED_OUT:
        raise error
    return JsonResponse(making.fold.response, headers=headers)

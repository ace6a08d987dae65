"""The Responses API over a WebSocket: each `response.create` is answered by a response's events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ossia.log import logger
from ossia.server.api_error import ApiError
from ossia.server.body import decoded, validated
from ossia.server.responses.event_log import JsonObject
from ossia.server.responses.intake import Intake
from ossia.server.responses.running import Making, start
from ossia.server.responses.schemas import ResponseRequest
from ossia.server.responses.surroundings import Surroundings

_log = logger(__name__)

MAX_AGE: Final = 3600.0  # seconds of a connection, as the hosted API has it
_MAX_WAITING: Final = 8  # requests of one connection, which are answered one after the other
_TRY_AGAIN_LATER: Final = 1013  # close codes of RFC 6455
_TOO_BIG: Final = 1009


def routes_over(around: Surroundings, *, max_age: float = MAX_AGE) -> list[BaseRoute]:
    """The route; `around` is that of the other routes."""

    async def connect(socket: WebSocket) -> None:
        await _Session(socket, around, max_age).run()

    return [WebSocketRoute("/v1/responses", connect)]


@dataclass(frozen=True, slots=True)
class _Memory:
    """A response that is not stored, but can be gone on from on the connection that made it."""

    response_id: str
    items: list[JsonObject]  # all that led to it, and its output


class _Session:
    """One connection."""

    def __init__(self, socket: WebSocket, around: Surroundings, max_age: float) -> None:
        self._socket = socket
        self._around = around
        self._max_age = max_age
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue(_MAX_WAITING)
        self._memory: _Memory | None = None
        self._making: Making | None = None

    async def run(self) -> None:
        """Serve the connection to its end."""
        await self._socket.accept()
        reader = asyncio.create_task(self._read())
        server = asyncio.create_task(self._serve())
        try:
            async with asyncio.timeout(self._max_age):
                await asyncio.wait((reader, server), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            await self._tell(_too_old(self._max_age))
            await self._close(_TRY_AGAIN_LATER)
        finally:
            for task in (reader, server):
                task.cancel()
            results = await asyncio.gather(reader, server, return_exceptions=True)
            if self._making is not None:
                await self._making.close()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                _log.warning("a connection failed", exc_info=result)

    async def _read(self) -> None:
        """Put messages into the queue, until the client goes away."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                text = (message.get("bytes") or b"").decode(errors="replace")
            if len(text) > self._around.settings.max_body_bytes:
                await self._close(_TOO_BIG)
                return
            if self._waiting.full():
                await self._tell(ApiError.overloaded("too many requests wait on this connection"))
            else:
                self._waiting.put_nowait(text)

    async def _serve(self) -> None:
        while True:
            text = await self._waiting.get()
            try:
                await self._answer(_request(text or ""))
            except ApiError as error:
                await self._tell(error)
            except WebSocketDisconnect:
                raise
            except Exception as error:
                _log.exception("a request over a WebSocket failed")
                await self._tell(ApiError.of(error))

    async def _answer(self, request: ResponseRequest) -> None:
        remembered = self._remembered(request)
        if remembered is not None:
            self._memory = None  # a failed continuation leaves nothing to go on from
        self._making, intake = await start(request, self._around, remembered)
        try:
            async for batch in self._making.batches():
                for event in batch:
                    await self._socket.send_text(orjson.dumps(event).decode())
            self._remember(intake)
        finally:
            making, self._making = self._making, None
            await making.close()

    def _remembered(self, request: ResponseRequest) -> list[JsonObject] | None:
        """What the connection remembers of the response that a request goes on from."""
        memory = self._memory
        if memory is None or memory.response_id != request.previous_response_id:
            return None
        return memory.items

    def _remember(self, intake: Intake) -> None:
        assert self._making is not None, "it has just ended"
        response = self._making.fold.kept_response
        if response["status"] == "failed" or response["store"]:
            return
        items = [*intake.history, *intake.prompt.input_items, *response["output"]]
        self._memory = _Memory(response["id"], items)

    async def _tell(self, error: ApiError) -> None:
        said = {"code": error.code, "message": error.message, "param": error.param}
        event = {
            "type": "error",
            "sequence_number": 0,
            "status": error.status,
            **said,
            "error": {"type": error.kind, **said},
        }
        await self._socket.send_text(orjson.dumps(event).decode())

    async def _close(self, code: int) -> None:
        await self._socket.close(code)


def _request(text: str) -> ResponseRequest:
    """The request that a message holds.

    Raises:
        ApiError: it is none, or asks for what cannot be had over a WebSocket.
    """
    body = decoded(text.encode(errors="replace"))
    kind = body.pop("type", None)
    if kind != "response.create":
        raise ApiError(
            f"Invalid value for 'type': {str(kind)[:64]!r}; this server takes 'response.create'.",
            param="type",
        )
    if body.pop("background", None):
        raise ApiError("'background' is not offered over a WebSocket.", param="background")
    request = validated(body, ResponseRequest)
    return request.model_copy(update={"stream": True})


def _too_old(max_age: float) -> ApiError:
    return ApiError(
        f"a connection lives {max_age:.0f} seconds; open a new one",
        code="websocket_connection_limit_reached",
    )

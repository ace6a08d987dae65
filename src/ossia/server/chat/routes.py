"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ossia.api.events import Event
from ossia.errors import StoreError
from ossia.log import logger
from ossia.server.admit_all import admit_all
from ossia.server.api_error import prompt_in
from ossia.server.body import read_json, taken
from ossia.server.chat.answers import ChatCompletion
from ossia.server.chat.choice import ChoiceFold, Piece
from ossia.server.chat.chunks import ChunkWriter, Numbered
from ossia.server.chat.completion import ChatIdentity, completion_object
from ossia.server.chat.intake import ChatPlan, plan_chat
from ossia.server.chat.schemas import ChatRequest
from ossia.server.disconnect import unless_gone
from ossia.server.guards.request_ids import RequestRecord, record_of
from ossia.server.json_response import JsonResponse
from ossia.server.merge import merge
from ossia.server.openapi.operation import ApiRoute, Link, Operation
from ossia.server.prompt import prompt_ids
from ossia.server.sse import EventStream
from ossia.server.state import ServerState
from ossia.server.store.interface import StoredChat

JsonObject = dict[str, Any]

_log = logger(__name__)

_MESSAGES = [{"role": "user", "content": "What is the weather in Oslo?"}]
_WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_CREATE = Operation(
    name="createChatCompletion",
    summary="Answer a chat.",
    tag="Chat",
    body=(ChatRequest,),
    answer=ChatCompletion,
    events="objects of the kind `chat.completion.chunk`, then `[DONE]`.",
    examples={
        "plain": {"messages": _MESSAGES, "store": True},
        "stream": {
            "messages": _MESSAGES,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        "tools": {"messages": _MESSAGES, "tools": [_WEATHER], "tool_choice": "auto"},
    },
    links={
        "retrieve": Link("getChatCompletion", "completion_id"),
        "update": Link("updateChatCompletion", "completion_id"),
        "delete": Link("deleteChatCompletion", "completion_id"),
        "messages": Link("listChatCompletionMessages", "completion_id"),
    },
    asks_model=True,
)


def routes(state: ServerState) -> list[BaseRoute]:
    """Chats that are to be answered."""

    async def create(request: Request) -> Response:
        raw = await read_json(request)
        body = taken(request, raw, ChatRequest)
        plan = plan_chat(body, state)
        record = record_of(request.scope)
        record.prompt = raw.get("messages")
        run = ChatRun(state, plan, raw, record)
        await run.begin()
        if not body.stream:
            return JsonResponse(await unless_gone(request, run.whole()))
        return run.stream()

    return [ApiRoute("/v1/chat/completions", create, _CREATE, method="POST")]


class ChatRun:
    """One chat completion in the making.

    Args:
        state: Of the server.
        plan: Of the request.
        raw: The request's body, whose messages may have to be stored.
        record: For the access log.
    """

    def __init__(
        self, state: ServerState, plan: ChatPlan, raw: JsonObject, record: RequestRecord
    ) -> None:
        self._state = state
        self._plan = plan
        self._messages: list[JsonObject] = raw["messages"]
        self._record = record
        self._identity = ChatIdentity(model=plan.model, has_tier=plan.body.service_tier is not None)
        self._folds = [
            ChoiceFold(plan, state.service.tokenizer, state.reasoning_memory)
            for _ in plan.questions
        ]
        self._answers: list[AsyncGenerator[Event, None]] = []

    async def begin(self) -> None:
        """Have all questions admitted.

        Raises:
            ApiError: one is refused; then none is answered.
        """
        with prompt_in("messages"):
            self._answers = await admit_all(map(self._state.service.answer, self._plan.questions))

    async def whole(self) -> JsonObject:
        """The completion object."""
        async with aclosing(self._pieces()) as pieces:
            async for _ in pieces:
                pass
        return completion_object(self._identity, self._plan, self._folds)

    def stream(self) -> EventStream[Numbered | None]:
        """The completion in chunks."""
        options = self._plan.body.stream_options
        prompt_tokens = None
        if options is not None and options.continuous_usage_stats:
            messages = self._plan.questions[0].messages
            prompt_tokens = len(prompt_ids(self._state.service.tokenizer, messages))
        writer = ChunkWriter(self._plan, self._identity, self._folds, prompt_tokens)

        def join(pieces: Sequence[Numbered | None]) -> bytes:
            """None is the end of them all."""
            over = pieces[-1] is None
            shown = [piece for piece in pieces if piece is not None]
            return (writer.write(shown) if shown else b"") + (writer.closing() if over else b"")

        return EventStream(
            self._all_pieces(),
            join=join,
            opening=writer.opening(),
            pacing=self._state.pacing,
            keep_alive=self._state.settings.keep_alive,
        )

    async def _all_pieces(self) -> AsyncGenerator[Numbered | None, None]:
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                yield piece
        yield None

    async def _pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        async with aclosing(merge(self._answers)) as events:
            async for index, event in events:
                piece = self._folds[index].push(event)
                if piece is not None:
                    yield index, piece
        await self._finish()

    async def _finish(self) -> None:
        """What is to be done before the client hears that it is all."""
        completion = completion_object(self._identity, self._plan, self._folds)
        usage = completion["usage"]
        self._record.facts |= {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "finish": self._folds[0].finish_reason,
        }
        store = self._state.store
        if self._plan.body.store and store is not None:
            try:
                await store.put_chat(StoredChat(completion=completion, messages=self._messages))
            except StoreError as error:
                # The client has its answer all the same.
                _log.error("a chat completion was not kept: %s", error)

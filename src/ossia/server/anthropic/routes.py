"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ossia.api.events import Event
from ossia.errors import OssiaError
from ossia.server.anthropic.answers import AnsweredMessage, MessagesError, TokenCount
from ossia.server.anthropic.fold import MessageFold
from ossia.server.anthropic.intake import messages_of, take_in
from ossia.server.anthropic.schemas import CountTokens, CreateMessage
from ossia.server.api_error import ApiError, prompt_in
from ossia.server.body import parse
from ossia.server.disconnect import unless_gone
from ossia.server.json_response import JsonResponse
from ossia.server.model_names import require_model
from ossia.server.openapi.operation import ApiRoute, Operation
from ossia.server.prompt import prompt_ids_beside
from ossia.server.sse import EventStream, event
from ossia.server.state import ServerState

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_MESSAGES = [{"role": "user", "content": "Hi"}]
_CREATE = Operation(
    name="createMessage",
    summary="Answer a conversation, as Anthropic's Messages API does.",
    tag="Messages",
    body=(CreateMessage,),
    answer=AnsweredMessage,
    events="those of Anthropic's API, from `message_start` to `message_stop`.",
    examples={
        "plain": {"max_tokens": 20, "messages": _MESSAGES},
        "stream": {"max_tokens": 20, "messages": _MESSAGES, "stream": True},
    },
    error=MessagesError,
    asks_model=True,
)
_COUNT = Operation(
    name="countMessageTokens",
    summary="Tell how long a prompt is, as Anthropic's Messages API does.",
    tag="Messages",
    body=(CountTokens,),
    answer=TokenCount,
    examples={"plain": {"messages": _MESSAGES}},
    error=MessagesError,
    refuses=(404, 503),
)


def routes(state: ServerState) -> list[BaseRoute]:
    """The routes over a server's state."""

    async def create(request: Request) -> Response | EventStream:
        body = await parse(request, CreateMessage)
        model = require_model(state, body.model)
        intake = take_in(body, state.settings, state.reasoning_memory)
        ids = await prompt_ids_beside(state.service.tokenizer, intake.question.messages)
        fold = MessageFold(model, len(ids), intake.thoughts, state.reasoning_memory)
        with prompt_in("messages"):
            events = await state.service.answer(intake.question)
        if body.stream:
            return EventStream(
                _streamed(fold, events),
                pacing=state.pacing,
                keep_alive=state.settings.keep_alive,
                on_error=lambda error: event(_error(error), "error"),
            )
        return JsonResponse(await unless_gone(request, _whole(fold, events)))

    async def count(request: Request) -> Response:
        body = await parse(request, CountTokens)
        require_model(state, body.model)
        messages = messages_of(body, state.settings, state.reasoning_memory)
        ids = await prompt_ids_beside(state.service.tokenizer, messages)
        return JsonResponse({"input_tokens": len(ids)})

    return [
        ApiRoute("/v1/messages", _shaped(create), _CREATE, method="POST"),
        ApiRoute("/v1/messages/count_tokens", _shaped(count), _COUNT, method="POST"),
    ]


async def _whole(fold: MessageFold, events: AsyncGenerator[Event, None]) -> dict[str, object]:
    async with aclosing(events):
        async for happened in events:
            fold.push(happened)
    return fold.message


async def _streamed(
    fold: MessageFold, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[bytes, None]:
    for one in fold.start():
        yield event(one, one["type"])
    async with aclosing(events):
        async for happened in events:
            for one in fold.push(happened):
                yield event(one, one["type"])


def _shaped(
    endpoint: Callable[[Request], Awaitable[Response | EventStream]],
) -> Callable[[Request], Awaitable[Response | EventStream]]:
    """The endpoint with refusals in Anthropic's shape."""

    async def shaped(request: Request) -> Response | EventStream:
        try:
            return await endpoint(request)
        except (ApiError, OssiaError) as failure:
            error = ApiError.of(failure)
            headers = {}
            if error.retry_after is not None:
                headers["retry-after"] = str(max(1, round(error.retry_after)))
            return JsonResponse(_error(error), status_code=error.status, headers=headers)

    return shaped


def _error(error: ApiError) -> dict[str, object]:
    told = {"type": _KINDS.get(error.status, "api_error"), "message": error.message}
    return {"type": "error", "error": told}

"""POST /v1/completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ossia.server.admit_all import admit_all
from ossia.server.api_error import prompt_in
from ossia.server.body import read_json, taken
from ossia.server.completions.answers import TextCompletion
from ossia.server.completions.choice import TextFold
from ossia.server.completions.chunks import TextChunkWriter, TextPiece, usage_of_texts
from ossia.server.completions.intake import CompletionPlan, plan_completion
from ossia.server.completions.schemas import CompletionRequest
from ossia.server.disconnect import unless_gone
from ossia.server.guards.request_ids import RequestRecord, record_of
from ossia.server.json_response import JsonResponse
from ossia.server.merge import merge
from ossia.server.openapi.operation import ApiRoute, Operation
from ossia.server.sse import EventStream
from ossia.server.state import ServerState
from ossia.types import TokenOutput

JsonObject = dict[str, Any]

_CREATE = Operation(
    name="createCompletion",
    summary="Go on with a text.",
    tag="Completions",
    body=(CompletionRequest,),
    answer=TextCompletion,
    events="text completions with a piece of the text each, then `[DONE]`.",
    examples={
        "plain": {"prompt": "Once upon a time", "max_tokens": 5},
        "stream": {"prompt": ["One", "Two"], "stream": True, "logprobs": 1, "echo": True},
    },
    asks_model=True,
)


def routes(state: ServerState) -> list[BaseRoute]:
    """Prompts that are to be gone on with."""

    async def create(request: Request) -> Response:
        raw = await read_json(request)
        plan = await plan_completion(taken(request, raw, CompletionRequest), state)
        record = record_of(request.scope)
        record.prompt = raw.get("prompt")
        run = CompletionRun(state, plan, record)
        await run.begin()
        if not plan.body.stream:
            return JsonResponse(await unless_gone(request, run.whole()))
        return run.stream()

    return [ApiRoute("/v1/completions", create, _CREATE, method="POST")]


class CompletionRun:
    """One text completion in the making.

    Args:
        state: Of the server.
        plan: Of the request.
        record: For the access log.
    """

    def __init__(self, state: ServerState, plan: CompletionPlan, record: RequestRecord) -> None:
        self._state = state
        self._plan = plan
        self._record = record
        self._members: JsonObject = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": plan.model,
        }
        tokenizer = state.service.tokenizer
        self._folds = [TextFold(plan, request, tokenizer) for request in plan.requests]
        self._outputs: list[AsyncGenerator[TokenOutput, None]] = []

    async def begin(self) -> None:
        """Have all of it admitted.

        Raises:
            ApiError: a part is refused; then nothing is done.
        """
        service = self._state.service
        with prompt_in("prompt"):
            self._outputs = await admit_all(map(service.generate, self._plan.requests))

    async def whole(self) -> JsonObject:
        """The completion object."""
        async with aclosing(self._pieces()) as pieces:
            async for _ in pieces:
                pass
        choices = [fold.to_dict(index) for index, fold in enumerate(self._folds)]
        return {**self._members, "choices": choices, "usage": self._usage()}

    def stream(self) -> EventStream[TextPiece | None]:
        """The completion in chunks."""
        writer = TextChunkWriter(
            self._plan.body, self._members, self._folds, self._plan.num_choices
        )

        def join(pieces: Sequence[TextPiece | None]) -> bytes:
            """None is the end of them all."""
            shown = writer.write([piece for piece in pieces if piece is not None])
            return shown + (writer.closing() if pieces[-1] is None else b"")

        return EventStream(
            self._all_pieces(),
            join=join,
            pacing=self._state.pacing,
            keep_alive=self._state.settings.keep_alive,
        )

    async def _all_pieces(self) -> AsyncGenerator[TextPiece | None, None]:
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                yield piece
        yield None

    async def _pieces(self) -> AsyncGenerator[TextPiece, None]:
        streams = [
            _folded(outputs, fold) for outputs, fold in zip(self._outputs, self._folds, strict=True)
        ]
        async with aclosing(merge(streams)) as texts:
            async for index, text in texts:
                fold = self._folds[index]
                num_tokens = 0 if fold.table is None else len(fold.table.tokens)
                if text or fold.over:
                    yield TextPiece(index, text, num_tokens, fold.finish_reason)
        usage = self._usage()
        self._record.facts |= {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "finish": self._folds[0].finish_reason,
        }

    def _usage(self) -> JsonObject:
        return usage_of_texts(self._folds, self._plan.num_choices)


async def _folded(
    outputs: AsyncGenerator[TokenOutput, None], fold: TextFold
) -> AsyncGenerator[str, None]:
    """The texts that the outputs add, up to the first stop string."""
    async with aclosing(outputs):
        async for output in outputs:
            yield fold.push(output)
            if fold.over:
                return

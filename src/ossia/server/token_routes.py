"""/tokenize, /detokenize and /render: between text, chats and token ids."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel, read_json, validated
from ossia.server.chat.intake import chat_messages
from ossia.server.chat.schemas import ChatRequest
from ossia.server.json_response import JsonResponse
from ossia.server.model_names import context_length, require_model
from ossia.server.prompt import prompt_ids
from ossia.server.state import ServerState


class TokenizeRequest(RequestModel):
    """A text, or a chat, to be cut into tokens.

    `allow_special` makes names of special tokens in `prompt` these tokens. gpt-oss has no token
    that is added to texts, so `add_special_tokens` changes nothing.
    """

    model: str | None = None
    prompt: str
    allow_special: bool | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(RequestModel):
    """Token ids to be made text."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0)]]


def routes(state: ServerState) -> list[BaseRoute]:
    """What needs the tokenizer alone."""

    async def tokenize(request: Request) -> JsonResponse:
        raw = await read_json(request)
        if "messages" in raw:
            ids = _rendered(state, raw)
            with_texts = raw.get("return_token_strs") is True
        else:
            body = validated(raw, TokenizeRequest)
            require_model(state, body.model)
            tokenizer = state.service.tokenizer
            encode = tokenizer.encode_with_special if body.allow_special else tokenizer.encode
            ids = encode(body.prompt)
            with_texts = bool(body.return_token_strs)
        return JsonResponse(_tokens(state, ids, with_texts=with_texts))

    async def detokenize(request: Request) -> JsonResponse:
        body = validated(await read_json(request), DetokenizeRequest)
        require_model(state, body.model)
        try:
            text = state.service.tokenizer.decode(body.tokens)
        except ValueError as error:
            raise ApiError(str(error), param="tokens") from None
        return JsonResponse({"prompt": text})

    async def render(request: Request) -> JsonResponse:
        ids = _rendered(state, await read_json(request))
        text = state.service.tokenizer.decode(ids)
        return JsonResponse({**_tokens(state, ids, with_texts=False), "text": text})

    return [
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/detokenize", detokenize, methods=["POST"]),
        Route("/render", render, methods=["POST"]),
        Route("/v1/chat/completions/render", render, methods=["POST"]),
    ]


def _rendered(state: ServerState, raw: dict[str, Any]) -> list[int]:
    body = validated(raw, ChatRequest)
    require_model(state, body.model)
    return prompt_ids(state.service.tokenizer, chat_messages(body, state))


def _tokens(state: ServerState, ids: list[int], *, with_texts: bool) -> dict[str, Any]:
    tokenizer = state.service.tokenizer
    answer: dict[str, Any] = {
        "count": len(ids),
        "max_model_len": context_length(state),
        "tokens": ids,
    }
    if with_texts:
        answer["token_strs"] = [tokenizer.decode([token_id]) for token_id in ids]
    return answer

"""/tokenize, /detokenize and /render: between text, chats and token ids."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.routing import BaseRoute

from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel, parse, read_json, taken
from ossia.server.chat.intake import chat_messages
from ossia.server.chat.schemas import ChatRequest
from ossia.server.completions.schemas import MAX_TOKENS
from ossia.server.json_response import JsonResponse
from ossia.server.model_names import context_length, require_model
from ossia.server.openapi.answers import AnswerModel
from ossia.server.openapi.operation import ApiRoute, Operation
from ossia.server.prompt import beside, prompt_ids_beside
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
    tokens: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_TOKENS)]


class TokenizeChatRequest(ChatRequest):
    """A chat to be cut into tokens."""

    return_token_strs: bool | None = None


class Tokens(AnswerModel):
    """Token ids, how many they are, and how many the model can take."""

    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | None = None


class RenderedChat(Tokens):
    """What the model sees of a chat."""

    text: str


class Detokenized(AnswerModel):
    """The text."""

    prompt: str


_CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
_TOKENIZE = Operation(
    name="tokenize",
    summary="Cut a text or a chat into tokens.",
    tag="Tokens",
    body=(TokenizeRequest, TokenizeChatRequest),
    answer=Tokens,
    examples={"text": {"prompt": "Hi there", "return_token_strs": True}, "chat": _CHAT},
    refuses=(404, 503),
)
_DETOKENIZE = Operation(
    name="detokenize",
    summary="Make text of token ids.",
    tag="Tokens",
    body=(DetokenizeRequest,),
    answer=Detokenized,
    examples={"ids": {"tokens": [12194, 1354]}},
    refuses=(404, 503),
)


def _render(name: str) -> Operation:
    return Operation(
        name=name,
        summary="Show a chat as the model sees it, without asking it anything.",
        tag="Tokens",
        body=(ChatRequest,),
        answer=RenderedChat,
        examples={"chat": _CHAT},
        refuses=(404, 503),
    )


def routes(state: ServerState) -> list[BaseRoute]:
    """What needs the tokenizer alone."""

    async def tokenize(request: Request) -> JsonResponse:
        raw = await read_json(request)
        if "messages" in raw:
            chat = taken(request, raw, TokenizeChatRequest)
            ids = await _rendered(state, chat)
            with_texts = bool(chat.return_token_strs)
        else:
            body = taken(request, raw, TokenizeRequest)
            require_model(state, body.model)
            tokenizer = state.service.tokenizer
            encode = tokenizer.encode_with_special if body.allow_special else tokenizer.encode
            ids = await beside(len(body.prompt), lambda: encode(body.prompt))
            with_texts = bool(body.return_token_strs)
        return JsonResponse(_tokens(state, ids, with_texts=with_texts))

    async def detokenize(request: Request) -> JsonResponse:
        body = await parse(request, DetokenizeRequest)
        require_model(state, body.model)
        try:
            text = state.service.tokenizer.decode(body.tokens)
        except ValueError as error:
            raise ApiError(str(error), param="tokens") from None
        return JsonResponse({"prompt": text})

    async def render(request: Request) -> JsonResponse:
        ids = await _rendered(state, await parse(request, ChatRequest))
        text = state.service.tokenizer.decode(ids)
        return JsonResponse({**_tokens(state, ids, with_texts=False), "text": text})

    return [
        ApiRoute("/tokenize", tokenize, _TOKENIZE, method="POST"),
        ApiRoute("/detokenize", detokenize, _DETOKENIZE, method="POST"),
        ApiRoute("/render", render, _render("render"), method="POST"),
        ApiRoute(
            "/v1/chat/completions/render", render, _render("renderChatCompletion"), method="POST"
        ),
    ]


async def _rendered(state: ServerState, body: ChatRequest) -> list[int]:
    require_model(state, body.model)
    return await prompt_ids_beside(state.service.tokenizer, chat_messages(body, state))


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

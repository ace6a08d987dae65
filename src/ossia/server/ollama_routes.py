"""What `codex --oss` asks an Ollama server before it uses the Responses API of this one."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from ossia.server.json_response import JsonResponse
from ossia.server.model_names import model_names
from ossia.server.openapi.answers import AnswerModel
from ossia.server.openapi.operation import ApiRoute, Operation
from ossia.server.state import ServerState

# The first version with what we offer is 0.13.4; clients compare.
_SPOKEN_VERSION = "0.30.0"


class SpokenVersion(AnswerModel):
    """Of the API."""

    version: str


class TagDetails(AnswerModel):
    """What kind of model it is."""

    format: str
    family: str
    quantization_level: str


class Tag(AnswerModel):
    """A model that needs no download."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: TagDetails


class Tags(AnswerModel):
    """All of them."""

    models: list[Tag]


_VERSION = Operation(
    name="getOllamaVersion",
    summary="The version of Ollama whose API is spoken.",
    tag="Ollama",
    answer=SpokenVersion,
)
_TAGS = Operation(
    name="listOllamaTags", summary="The models that need no download.", tag="Ollama", answer=Tags
)


def routes(state: ServerState) -> list[BaseRoute]:
    """The version of the API that is spoken, and the models that need no download."""

    async def version(request: Request) -> JsonResponse:
        del request
        return JsonResponse({"version": _SPOKEN_VERSION})

    async def tags(request: Request) -> JsonResponse:
        del request
        return JsonResponse({"models": [_entry(state, name) for name in model_names(state)]})

    return [ApiRoute("/api/version", version, _VERSION), ApiRoute("/api/tags", tags, _TAGS)]


def _entry(state: ServerState, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": datetime.fromtimestamp(state.service.created, UTC).isoformat(),
        "size": 0,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {"format": "safetensors", "family": "gptoss", "quantization_level": "MXFP4"},
    }

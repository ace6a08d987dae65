"""What `codex --oss` asks an Ollama server before it uses the Responses API of this one."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from ossia.server.json_response import JsonResponse
from ossia.server.model_names import model_names
from ossia.server.state import ServerState

# The first version with what we offer is 0.13.4; clients compare.
_SPOKEN_VERSION = "0.30.0"


def routes(state: ServerState) -> list[BaseRoute]:
    """The version of the API that is spoken, and the models that need no download."""

    async def version(request: Request) -> JsonResponse:
        del request
        return JsonResponse({"version": _SPOKEN_VERSION})

    async def tags(request: Request) -> JsonResponse:
        del request
        return JsonResponse({"models": [_entry(state, name) for name in model_names(state)]})

    return [Route("/api/version", version), Route("/api/tags", tags)]


def _entry(state: ServerState, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": datetime.fromtimestamp(state.service.created, UTC).isoformat(),
        "size": 0,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {"format": "safetensors", "family": "gptoss", "quantization_level": "MXFP4"},
    }

"""/v1/models: which model there is."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from ossia.server.json_response import JsonResponse
from ossia.server.model_names import context_length, model_names, require_model
from ossia.server.state import ServerState


def routes(state: ServerState) -> list[BaseRoute]:
    """The list of models, and one of them; ids may hold slashes and colons."""

    async def list_models(request: Request) -> JsonResponse:
        del request
        entries = [_entry(state, name) for name in model_names(state)]
        return JsonResponse({"object": "list", "data": entries})

    async def get_model(request: Request) -> JsonResponse:
        name: str = request.path_params["model_id"]
        require_model(state, name)
        return JsonResponse(_entry(state, name))

    return [
        Route("/v1/models", list_models),
        Route("/v1/models/{model_id:path}", get_model),
    ]


def _entry(state: ServerState, name: str) -> dict[str, Any]:
    service = state.service
    return {
        "id": name,
        "object": "model",
        "created": service.created,
        "owned_by": "ossia",
        "root": service.model,
        "max_model_len": context_length(state),
    }

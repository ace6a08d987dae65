"""/v1/models: which model there is."""

from __future__ import annotations

from typing import Any, Literal

from starlette.requests import Request
from starlette.routing import BaseRoute

from ossia.server.json_response import JsonResponse
from ossia.server.model_names import context_length, model_names, require_model
from ossia.server.openapi.answers import AnswerModel
from ossia.server.openapi.operation import ApiRoute, Link, Operation
from ossia.server.state import ServerState


class Model(AnswerModel):
    """A name under which the model may be asked for; `root` is the one it is served under."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    max_model_len: int | None


class Models(AnswerModel):
    """All names."""

    object: Literal["list"]
    data: list[Model]


_LIST = Operation(
    name="listModels",
    summary="The names under which the model may be asked for.",
    tag="Models",
    answer=Models,
    links={"first": Link("getModel", "model_id", "/data/0/id")},
)
_GET = Operation(name="getModel", summary="One of these names.", tag="Models", answer=Model)


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
        ApiRoute("/v1/models", list_models, _LIST),
        ApiRoute("/v1/models/{model_id:path}", get_model, _GET),
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

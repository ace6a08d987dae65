"""GET /openapi.json: the document. It is guarded like all routes: with API keys, it asks for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ossia.server.openapi.document import document
from ossia.server.openapi.operation import ApiRoute, Operation
from ossia.server.settings import ServerSettings


class OpenApiDocument(BaseModel):
    """A description of the server, as https://spec.openapis.org/oas/v3.1.0 has it."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]


def with_document(routes: Sequence[BaseRoute], settings: ServerSettings) -> list[BaseRoute]:
    """The routes, and one more that describes them all and itself."""
    told = Operation(
        name="getOpenApi",
        summary="Describe the server.",
        tag="Server",
        answer=OpenApiDocument,
    )

    async def describe(request: Request) -> Response:
        del request
        return Response(written(), media_type="application/json")

    described = [*routes, ApiRoute("/openapi.json", describe, told)]
    written = _once(lambda: document(described, asks_for_key=bool(settings.api_keys)))
    return described


def _once(make: Callable[[], object]) -> Callable[[], bytes]:
    """JSON that is made when it is first asked for, which takes longer than an answer should."""
    return cache(lambda: orjson.dumps(make()))

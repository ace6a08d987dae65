"""The document: an OpenAPI 3.1 description of routes, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from starlette.routing import BaseRoute

from ossia import __version__
from ossia.server.guards.keys import OPEN_PATHS
from ossia.server.openapi.answers import ErrorAnswer
from ossia.server.openapi.operation import ApiRoute, JsonObject, Link, Operation, Query

_REF: Final = "#/components/schemas/{model}"
_JSON: Final = "application/json"
_EVERYWHERE: Final = (400, 403, 405, 500)
_WITH_BODY: Final = (408, 413, 415)
_WITH_MODEL: Final = (404, 429, 503)
_MODE: Final[JsonSchemaMode] = "validation"
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_EVENT: Final = {
    "type": "object",
    "description": "One event: each line of it is a name, a colon and a text.",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_ABOUT: Final = (
    "OpenAI's Responses and Chat Completions APIs and more, for a gpt-oss model on a machine of "
    "your own. GET /v1/responses is also a WebSocket, which this format cannot describe: each "
    "`response.create` message is answered by the events of a response. Members of a body that "
    "are not named here are ignored."
)


def document(routes: Iterable[BaseRoute], *, asks_for_key: bool) -> JsonObject:
    """Describe those of the routes that say what they do.

    Args:
        routes: Of the server.
        asks_for_key: Whether it takes requests only with an API key.
    """
    described = [route for route in routes if isinstance(route, ApiRoute)]
    schemas = _Schemas(route.operation for route in described)
    paths: JsonObject = {}
    for route in described:
        needs_key = asks_for_key and route.path not in OPEN_PATHS
        entry = _operation(route, schemas, needs_key=needs_key)
        paths.setdefault(route.path_format, {})[route.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ossia", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": _SECURITY if asks_for_key else {},
        },
    }


class _JsonSchemas(GenerateJsonSchema):
    """JSON schemas without a title for each field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401
        """Never."""
        del schema
        return False


class _Schemas:
    """The models of operations as shared components.

    Args:
        operations: That use them.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        models = dict.fromkeys(model for one in operations for model in _models(one))
        self._refs, made = models_json_schema(
            [(model, _MODE) for model in models],
            ref_template=_REF,
            schema_generator=_JsonSchemas,
        )
        self.components: JsonObject = made["$defs"]

    def of(self, *models: type[BaseModel]) -> JsonObject:
        """Any of some models."""
        refs = [self._refs[model, _MODE] for model in models]
        return refs[0] if len(refs) == 1 else {"anyOf": refs}


def _models(operation: Operation) -> Iterator[type[BaseModel]]:
    yield from operation.body
    yield from operation.others.values()
    yield operation.error
    yield ErrorAnswer
    if operation.answer is not None:
        yield operation.answer


def _operation(route: ApiRoute, schemas: _Schemas, *, needs_key: bool) -> JsonObject:
    told = route.operation
    entry: JsonObject = {
        "operationId": told.name,
        "summary": told.summary,
        "tags": [told.tag],
        "parameters": [
            *(_path_parameter(name) for name in route.param_convertors),
            *(_query_parameter(query) for query in told.query),
        ],
        "responses": {
            "200": _answer(told, schemas),
            **{
                str(status): _told(status, told, schemas)
                for status in _statuses(route, needs_key=needs_key)
            },
        },
        "security": [{name: []} for name in _SECURITY] if needs_key else [],
    }
    if told.body:
        content: JsonObject = {"schema": schemas.of(*told.body)}
        if told.examples:
            content["examples"] = {name: {"value": body} for name, body in told.examples.items()}
        entry["requestBody"] = {"required": True, "content": {_JSON: content}}
    return entry


def _path_parameter(name: str) -> JsonObject:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(query: Query) -> JsonObject:
    parameter = {
        "name": query.name,
        "in": "query",
        "description": query.about,
        "schema": query.schema,
    }
    return parameter if query.style is None else {**parameter, "style": query.style}


def _answer(told: Operation, schemas: _Schemas) -> JsonObject:
    text = {"type": "string"}
    content: JsonObject = {
        told.media_type: {"schema": text if told.answer is None else schemas.of(told.answer)}
    }
    about = "The answer."
    if told.events is not None:
        content["text/event-stream"] = {"schema": _EVENT}
        about = f"The answer; with `stream`, server-sent events: {told.events}"
    headers = {"x-request-id": "The request's id, as in the server's log.", **told.headers}
    answer: JsonObject = {
        "description": about,
        "headers": {
            name: {"description": says, "schema": text, "required": name not in told.headers}
            for name, says in headers.items()
        },
        "content": content,
    }
    if told.links:
        answer["links"] = {name: _link(link) for name, link in told.links.items()}
    return answer


def _link(link: Link) -> JsonObject:
    expression = f"$response.body#{link.pointer}"
    return {"operationId": link.operation, "parameters": {link.parameter: expression}}


def _statuses(route: ApiRoute, *, needs_key: bool) -> list[int]:
    """Those besides 200."""
    told = route.operation
    statuses = {*_EVERYWHERE, *told.refuses, *told.others}
    statuses |= {401} if needs_key else set()
    statuses |= set(_WITH_BODY) if told.body else set()
    statuses |= set(_WITH_MODEL) if told.asks_model else set()
    statuses |= {404} if route.param_convertors else set()
    return sorted(statuses)


def _told(status: int, told: Operation, schemas: _Schemas) -> JsonObject:
    # What stands before the routes refuses in one shape, whatever that of the route.
    models = [told.others[status]] if status in told.others else [told.error, ErrorAnswer]
    return {
        "description": HTTPStatus(status).phrase,
        "content": {_JSON: {"schema": schemas.of(*dict.fromkeys(models))}},
    }

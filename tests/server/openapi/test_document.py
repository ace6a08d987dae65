"""The OpenAPI document: it names every route, and what it says of them holds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route, WebSocketRoute

from ossia.server.app import GROUPS, create_app
from ossia.server.body import RequestModel
from ossia.server.openapi.document import document
from ossia.server.openapi.routes import with_document
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.http_server import serving
from support.raw_http import exchange, post, request
from support.responses import answer, around
from support.scripted_service import ScriptedService
from support.scripted_web import ScriptedWeb

KEY = "secret-key-1"


def _state(**settings: Any) -> ServerState:
    return ServerState(
        settings=ServerSettings(**settings), service=ScriptedService(), store=SqliteStore()
    )


def _routes(state: ServerState) -> list:
    return with_document([route for group in GROUPS for route in group(state)], state.settings)


@pytest.fixture(scope="module")
def state():
    state = _state()
    yield state
    assert state.store is not None
    asyncio.run(state.store.close())


@pytest.fixture(scope="module")
def told(state):
    return document(_routes(state), asks_for_key=True)


@pytest.fixture(scope="module")
def address(state):
    with serving(create_app(state)) as address:
        yield address


def _operations(told):
    return [operation for path in told["paths"].values() for operation in path.values()]


def _undescribed(routes, told) -> list[str]:
    """Paths and methods of the routes that the document lacks."""
    missing = []
    for route in routes:
        if isinstance(route, WebSocketRoute):
            # OpenAPI has no words for it, so words of ours must do.
            missing += [] if route.path in told["info"]["description"] else [route.path]
            continue
        described = told["paths"].get(route.path_format, {})
        methods = {method.lower() for method in route.methods} - {"head"}
        missing += [f"{method} {route.path}" for method in methods - set(described)]
    return missing


def test_every_route_of_the_server_is_described(state, told):
    assert _undescribed(_routes(state), told) == []


def test_a_route_that_says_nothing_of_itself_is_noticed(state):
    routes = [*_routes(state), Route("/new", lambda request: None, methods=["PATCH"])]
    assert _undescribed(routes, document(routes, asks_for_key=True)) == ["patch /new"]


def test_names_are_unique_and_links_lead_somewhere(told):
    operations = {operation["operationId"]: operation for operation in _operations(told)}
    assert len(operations) == len(_operations(told))
    for operation in operations.values():
        for link in operation["responses"]["200"].get("links", {}).values():
            there = operations[link["operationId"]]
            names = {parameter["name"] for parameter in there["parameters"]}
            assert set(link["parameters"]) <= names


def test_all_schemas_are_schemas_and_all_references_lead_to_one(told):
    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(told)
    for part in text.split('"$ref": "')[1:]:
        name = part.partition('"')[0].removeprefix("#/components/schemas/")
        assert name in told["components"]["schemas"], name


def test_bodies_are_described_by_the_models_that_read_them(told):
    for model in (RequestModel, *_below(RequestModel)):
        schema = told["components"]["schemas"].get(model.__name__)
        if schema is None or model.__module__.partition(".")[0] != "ossia":
            continue
        names = {field.alias or name for name, field in model.model_fields.items()}
        assert set(schema.get("properties", {})) >= names


def _below(model: type) -> list[type]:
    return [each for child in model.__subclasses__() for each in (child, *_below(child))]


def test_it_is_served_and_asks_for_the_key_as_others_do(told):
    state = _state(api_keys=(KEY,))
    with serving(create_app(state)) as address:
        assert exchange(address, request("GET", "/openapi.json")).status == 401
        answer = exchange(address, request("GET", "/openapi.json", {"X-Api-Key": KEY}))
    assert state.store is not None
    asyncio.run(state.store.close())
    assert answer.status == 200
    served = json.loads(answer.body)
    assert served == told
    assert served["paths"]["/v1/models"]["get"]["security"] == [{"bearer": []}, {"apiKey": []}]
    assert served["paths"]["/health"]["get"]["security"] == []


def test_without_keys_none_is_asked_for(address):
    served = json.loads(exchange(address, request("GET", "/openapi.json")).body)
    assert served["components"]["securitySchemes"] == {}
    assert all(operation["security"] == [] for operation in _operations(served))


def test_examples_are_answered_as_described(told, address):
    tried = 0
    for path, operations in told["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        for example in content.get("application/json", {}).get("examples", {}).values():
            body = example["value"]
            given = exchange(address, post(path, body))
            assert given.status == 200, (path, body, given.body)
            kind = given.headers["content-type"].partition(";")[0]
            described = operations["post"]["responses"]["200"]["content"]
            assert kind in described
            if kind == "application/json":
                schema = {**described[kind]["schema"], "components": told["components"]}
                Draft202012Validator(schema).validate(json.loads(given.body))
            tried += 1
    assert tried >= 20


@pytest.mark.parametrize("limit", [None, 12])
def test_responses_that_search_are_as_described(told, limit):
    search = '<|channel|>analysis to=browser.search code<|message|>{"query":"otters"}<|call|>'
    said = "<|channel|>final<|message|>They are back【0†L1】.<|return|>"
    body = {"tools": [{"type": "web_search"}], "max_output_tokens": limit}
    body["tool_choice"] = {"type": "web_search"}
    _, response = answer(body, around(search, said, web=ScriptedWeb()))
    assert response["status"] == ("completed" if limit is None else "incomplete")
    assert response["output"][0]["type"] == "web_search_call"
    schemas = told["components"]["schemas"]
    for name, value in (("Response", response), ("ResponseRequest", {**body, "input": "Hi"})):
        Draft202012Validator({**schemas[name], "components": told["components"]}).validate(value)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/chat/completions", "GET, HEAD, POST"),
        ("/v1/chat/completions/x", "DELETE, GET, HEAD, POST"),
        ("/v1/chat/completions/render", "POST"),
        ("/health", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_taken_is_told_those_that_are(address, path, allowed):
    answer = exchange(address, request("PUT", path))
    assert (answer.status, answer.headers["allow"]) == (405, allowed)

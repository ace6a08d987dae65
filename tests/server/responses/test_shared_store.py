"""Stored responses where several servers share a store, and where the store goes away."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import httpx2
import pytest

from ossia.errors import StoreError, StoreUnreachableError
from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.http_server import serving
from support.scripted_service import ScriptedService
from support.waiting import wait_until

_INPUT = {"model": "m", "input": "Hi"}


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def _server(stack: ExitStack, store, **service) -> tuple[httpx2.Client, ScriptedService]:
    scripted = ScriptedService(**service)
    app = create_app(
        ServerState(settings=ServerSettings(aliases=("m",)), service=scripted, store=store)
    )
    address = stack.enter_context(serving(app))
    client = stack.enter_context(httpx2.Client(base_url=f"{address}/v1", timeout=20))
    return client, scripted


def test_what_another_server_makes_can_be_read_and_is_not_touched(stack):
    store = SqliteStore()
    stack.callback(lambda: asyncio.run(store.close()))
    makes, scripted = _server(stack, store, stalls_after=3)
    other, _ = _server(stack, store)
    response_id = makes.post("/responses", json=_INPUT | {"background": True}).json()["id"]
    wait_until(scripted.stalled.is_set)

    def ask(method: str, path: str = "", **query: str):
        return other.request(method, f"/responses/{response_id}{path}", params=query)

    assert ask("GET").json()["status"] in ("queued", "in_progress")
    assert ask("GET", "/input_items").json()["data"][0]["content"][0]["text"] == "Hi"
    for refusal in (ask("GET", stream="true"), ask("POST", "/cancel"), ask("DELETE")):
        assert refusal.status_code == 409, refusal.text
        assert refusal.json()["error"]["code"] == "response_made_elsewhere"
    going_on = other.post("/responses", json=_INPUT | {"previous_response_id": response_id})
    assert going_on.status_code == 400
    assert "has not ended yet" in going_on.text

    scripted.go_on.set()
    wait_until(lambda: ask("GET").json()["status"] == "completed")
    wait_until(lambda: ask("GET", stream="true").status_code == 200)
    assert ask("GET", stream="true").text.endswith("data: [DONE]\n\n")
    assert ask("POST", "/cancel").json()["status"] == "completed"
    assert ask("DELETE").json()["deleted"]
    assert makes.get(f"/responses/{response_id}").status_code == 404


class _Away:
    """A store whose database is away."""

    shared_key = None

    def __init__(self, error: StoreError) -> None:
        self._error = error

    def __getattr__(self, name: str):
        async def fail(*arguments, **named):
            raise self._error

        return fail


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnreachableError("PostgreSQL cannot be reached, ossia at db.lan"), 503),
        (StoreError("the store failed: disk full at /secret"), 500),
    ],
)
def test_answers_are_given_without_the_store_and_questions_about_it_refused(stack, error, status):
    client, _ = _server(stack, _Away(error))
    assert client.post("/responses", json=_INPUT).json()["status"] == "completed"
    streamed = client.post("/responses", json=_INPUT | {"stream": True}).text
    assert "response.completed" in streamed
    assert streamed.endswith("data: [DONE]\n\n")
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "store": True}
    assert client.post("/chat/completions", json=chat).status_code == 200
    for refusal in (
        client.get("/responses/resp_1"),
        client.delete("/responses/resp_1"),
        client.post("/responses", json=_INPUT | {"previous_response_id": "resp_1"}),
        client.get("/chat/completions"),
        client.post("/conversations", json={}),
    ):
        assert refusal.status_code == status, refusal.text
        assert refusal.json()["error"]["type"] == "server_error"
        assert "db.lan" not in refusal.text
        assert "secret" not in refusal.text
        assert ("retry-after" in refusal.headers) == (status == 503)


def test_reasoning_that_one_server_has_sealed_is_opened_by_the_others(stack):
    class _Shared(SqliteStore):
        shared_key = bytes(range(32))

    store = _Shared()
    stack.callback(lambda: asyncio.run(store.close()))
    one, _ = _server(stack, store)
    other, scripted = _server(stack, store)
    asked = _INPUT | {"include": ["reasoning.encrypted_content"], "store": False}
    first = one.post("/responses", json=asked).json()
    reasoning = {**first["output"][0], "content": None}
    again = [
        {"role": "user", "content": "Hi"},
        reasoning,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ]
    assert other.post("/responses", json=_INPUT | {"input": again}).status_code == 200
    assert "Greet." in [message.text for message in scripted.questions[0].messages]

"""The Responses API over a WebSocket, with the SDK and with a bare client."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager

import openai
import pytest
from starlette.applications import Starlette
from websockets.sync.client import connect

from ossia.server.app import create_app
from ossia.server.responses import websocket
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.http_server import serving
from support.responses import around, check_stream
from support.scripted_service import HELLO, ScriptedService


@contextmanager
def _served(*scripts, **options):
    store = SqliteStore()
    service = ScriptedService(*scripts, **options)
    state = ServerState(settings=ServerSettings(aliases=("m",)), service=service, store=store)
    with serving(create_app(state)) as address:
        yield address, service
    asyncio.run(store.close())


@contextmanager
def _socket(address):
    with connect(address.replace("http", "ws") + "/v1/responses") as socket:
        yield socket


def _ask(socket, **body) -> list[dict]:
    socket.send(json.dumps({"type": "response.create", "model": "m", "input": "Hi", **body}))
    return _answer(socket)


def _answer(socket) -> list[dict]:
    events = [json.loads(socket.recv(timeout=20))]
    ends = {"response.completed", "response.failed", "response.incomplete", "error"}
    while events[-1]["type"] not in ends:
        events.append(json.loads(socket.recv(timeout=20)))
    return events


@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")
def test_the_sdk_connects():
    with (
        _served() as (address, _),
        openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client,
        client.responses.connect() as connection,
    ):
        for _ in range(2):
            connection.response.create(model="m", input="Hi")
            for event in connection:
                if event.type == "response.completed":
                    break
            assert event.response.output_text == "Hello there."


@pytest.mark.parametrize("store", [True, False])
def test_a_connection_goes_on_from_its_last_response(store):
    with _served() as (address, service), _socket(address) as socket:
        events = _ask(socket, input="One", store=store)
        check_stream(events)
        first = events[-1]["response"]
        second = _ask(socket, input="Two", store=store, previous_response_id=first["id"])[-1]
        third = _ask(socket, input="Three", previous_response_id=second["response"]["id"])[-1]
        assert third["response"]["previous_response_id"] == second["response"]["id"]
        prompt = service.tokenizer.decode(service.requests[-1].prompt_ids)
        assert [text in prompt for text in ("One", "Two", "Three")] == [True] * 3
        assert prompt.count("Hello there.") == 2
        # What is stored in the end can be gone on from elsewhere, whatever it went on from.
        with _socket(address) as other:
            fourth = _ask(other, input="Four", previous_response_id=third["response"]["id"])[-1]
            assert fourth["type"] == "response.completed"
        prompt = service.tokenizer.decode(service.requests[-1].prompt_ids)
        assert all(text in prompt for text in ("One", "Two", "Three", "Four"))


def test_what_is_not_stored_is_known_to_its_connection_only():
    with _served() as (address, _), _socket(address) as socket, _socket(address) as other:
        first = _ask(socket, store=False)[-1]["response"]
        refused = _ask(other, previous_response_id=first["id"])[-1]
        assert refused["error"]["code"] == refused["code"] == "previous_response_not_found"
        assert refused["status"] == 400


def test_a_failed_continuation_is_forgotten():
    with _served() as (address, _), _socket(address) as socket:
        first = _ask(socket, store=False)[-1]["response"]
        bad = _ask(socket, previous_response_id=first["id"], input=[{"type": "nonsense"}])[-1]
        assert bad["param"] == "input[0].type"
        again = _ask(socket, previous_response_id=first["id"])[-1]
        assert again["code"] == "previous_response_not_found"
        assert _ask(socket)[-1]["type"] == "response.completed"


def test_a_warm_up_writes_nothing_and_can_be_gone_on_from():
    with _served() as (address, service), _socket(address) as socket:
        warm = _ask(socket, input="One", generate=False, store=False)[-1]["response"]
        assert warm["output"] == []
        answer = _ask(socket, input="Two", previous_response_id=warm["id"], store=False)[-1]
        assert answer["response"]["output"]
        assert "One" in service.tokenizer.decode(service.requests[-1].prompt_ids)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("no json", None),
        ("[]", None),
        ('{"type": "response.steer"}', "type"),
        ("{}", "type"),
        ('{"type": "response.create", "input": "Hi", "background": true}', "background"),
        ('{"type": "response.create", "input": "Hi", "temperature": 9}', "temperature"),
        ('{"type": "response.create"}', "input"),
        ("[" * 10_000, None),
        (b"\xff\xfe", None),
    ],
)
def test_bad_messages_are_refused_and_the_next_works(message, param):
    with _served() as (address, _), _socket(address) as socket:
        socket.send(message)
        refused = _answer(socket)[-1]
        assert refused["type"] == "error"
        assert refused["param"] == param
        assert _ask(socket)[-1]["type"] == "response.completed"


def test_requests_wait_for_each_other_up_to_a_limit():
    with _served(HELLO, stalls_after=3) as (address, service), _socket(address) as socket:
        for _ in range(11):
            socket.send(json.dumps({"type": "response.create", "input": "Hi", "store": False}))
        ends = [_answer(socket)[-1]["type"] for _ in range(2)]
        assert ends == ["error", "error"]
        service.go_on.set()
        ends = sorted(_answer(socket)[-1]["type"] for _ in range(9))
        # One more is refused if all were read before the first was begun with.
        assert ends in (["response.completed"] * 9, ["error", *["response.completed"] * 8])


def test_a_client_that_goes_away_ends_its_response():
    with _served(HELLO, stalls_after=3) as (address, service):
        with _socket(address) as socket:
            socket.send(json.dumps({"type": "response.create", "input": "Hi"}))
            socket.recv(timeout=20)
            assert service.stalled.is_set() or socket.recv(timeout=20)
        for _ in range(1000):
            if service.closed_early:
                break
            asyncio.run(asyncio.sleep(0.01))
        assert service.closed_early == 1
        assert service.running == 0


@pytest.mark.parametrize("dies_after", [0, 9])
def test_a_fault_is_told_and_the_connection_lives(dies_after):
    with _served(HELLO, dies_after=dies_after) as (address, _), _socket(address) as socket:
        events = _ask(socket)
        events += _answer(socket)
        assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]


def test_a_connection_has_an_end():
    app = Starlette(routes=websocket.routes_over(around(HELLO), max_age=0.2))
    with serving(app) as address, _socket(address) as socket:
        assert _answer(socket)[-1]["code"] == "websocket_connection_limit_reached"
        with pytest.raises(Exception, match="1013"):
            socket.recv(timeout=20)

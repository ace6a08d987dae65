"""Stored responses over a socket: background, resumed, cancelled, deleted, listed."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import httpx2
import openai
import pytest

from ossia.server import sse
from ossia.server.app import create_app
from ossia.server.json_response import JsonResponse
from ossia.server.responses import routes, stored_routes
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.http_server import serving
from support.responses import check_stream
from support.scripted_service import HELLO, ScriptedService


@pytest.fixture
def served(request):
    options = getattr(request, "param", {})
    service = ScriptedService(*options.get("scripts", (HELLO,)), **options.get("service", {}))
    store = SqliteStore()
    state = ServerState(settings=ServerSettings(aliases=("m",)), service=service, store=store)
    with (
        serving(create_app(state)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
        httpx2.Client(base_url=f"{address}/v1", timeout=20) as http,
    ):
        yield SimpleNamespace(client=client, http=http, service=service, state=state)
    asyncio.run(store.close())


def _until(condition):
    end = time.monotonic() + 20
    while not (value := condition()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)
    return value


def _events(answer) -> list[dict]:
    lines = [
        line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data")
    ]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_a_background_response_is_polled_to_its_end(served):
    response = served.client.responses.create(model="m", input="Hi", background=True)
    assert response.status in ("queued", "in_progress", "completed")
    ended = _until(
        lambda: (
            (found := served.client.responses.retrieve(response.id)).status == "completed" and found
        )
    )
    assert ended.output_text == "Hello there."
    assert ended.background
    assert len(served.state.active) == 0


@pytest.mark.parametrize("background", [True, False])
def test_a_stream_can_be_resumed_at_every_place(served, background):
    body = {"model": "m", "input": "Hi", "stream": True, "background": background}
    whole = _events(served.http.post("/responses", json=body))
    response_id = whole[0]["response"]["id"]
    if not background:
        check_stream(whole)
    for after in range(len(whole)):
        query = {"stream": "true", "starting_after": str(after)}
        tail = served.http.get(f"/responses/{response_id}", params=query)
        assert _events(tail) == whole[after + 1 :]
    again = served.http.get(f"/responses/{response_id}", params={"stream": "true"})
    assert _events(again) == whole
    assert served.http.get(f"/responses/{response_id}").json() == whole[-1]["response"]


@pytest.mark.parametrize("served", [{"service": {"stalls_after": 9}}], indirect=True)
def test_a_background_stream_outlives_its_client_and_is_joined_by_others(served):
    body = {"model": "m", "input": "Hi", "stream": True, "background": True}
    with served.http.stream("POST", "/responses", json=body) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data"))
    response_id = json.loads(first.removeprefix("data: "))["response"]["id"]
    _until(served.service.stalled.is_set)
    assert served.client.responses.retrieve(response_id).status == "in_progress"
    seen = []
    stream = served.client.responses.retrieve(response_id, stream=True, starting_after=0)
    for event in stream:
        seen.append(event)
        if len(seen) == 1:
            served.service.go_on.set()
    assert [event.sequence_number for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].type == "response.completed"
    assert served.service.closed_early == 0


@pytest.mark.parametrize("served", [{"service": {"stalls_after": 9}}], indirect=True)
def test_a_foreground_stream_ends_with_its_client(served):
    body = {"model": "m", "input": "Hi", "stream": True}
    with served.http.stream("POST", "/responses", json=body) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data"))
    response_id = json.loads(first.removeprefix("data: "))["response"]["id"]
    _until(lambda: served.service.closed_early)
    _until(lambda: len(served.state.active) == 0)
    assert served.service.running == 0
    assert served.client.responses.retrieve(response_id).status == "cancelled"


@pytest.mark.parametrize("served", [{"service": {"stalls_after": 9}}], indirect=True)
def test_cancelling_is_idempotent_and_frees_the_engine(served):
    response = served.client.responses.create(model="m", input="Hi", background=True)
    _until(served.service.stalled.is_set)
    for _ in range(2):
        assert served.client.responses.cancel(response.id).status == "cancelled"
    assert served.service.running == 0
    assert served.client.responses.retrieve(response.id).status == "cancelled"


@pytest.mark.parametrize("served", [{"service": {"stalls_after": 9}}], indirect=True)
def test_deleting_ends_what_is_being_made(served):
    response = served.client.responses.create(model="m", input="Hi", background=True)
    _until(served.service.stalled.is_set)
    assert served.http.delete(f"/responses/{response.id}").json() == {
        "id": response.id,
        "object": "response",
        "deleted": True,
    }
    assert served.service.running == 0
    assert served.http.get(f"/responses/{response.id}").status_code == 404
    assert served.http.delete(f"/responses/{response.id}").status_code == 404


@pytest.mark.parametrize("served", [{"service": {"dies_after": 9}}], indirect=True)
def test_a_fault_in_the_background_is_stored(served):
    response = served.client.responses.create(model="m", input="Hi", background=True)
    ended = _until(
        lambda: (
            (found := served.client.responses.retrieve(response.id)).status == "failed" and found
        )
    )
    assert ended.error.code == "server_error"
    events = _events(served.http.get(f"/responses/{response.id}", params={"stream": "true"}))
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]


def test_input_items_come_in_pages(served):
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    response = served.client.responses.create(model="m", input=items)
    listed = served.client.responses.input_items.list(response.id, limit=2, order="asc")
    assert [item.content[0].text for item in listed] == list("01234")  # over all pages
    newest = served.http.get(f"/responses/{response.id}/input_items", params={"limit": 1}).json()
    assert newest["data"][0]["content"][0]["text"] == "4"
    assert newest["has_more"]
    assert newest["first_id"] == newest["last_id"] == newest["data"][0]["id"]


@pytest.mark.parametrize(
    ("path", "query", "status", "param"),
    [
        ("resp_none", {}, 404, None),
        ("resp_none/input_items", {}, 404, None),
        ("{}", {"stream": "true"}, 400, "stream"),
        ("{}", {"stream": "maybe"}, 400, "stream"),
        ("{}", {"stream": "true", "starting_after": "-2"}, 400, "starting_after"),
        ("{}/input_items", {"limit": "0"}, 400, "limit"),
        ("{}/input_items", {"limit": "٣"}, 400, "limit"),
        ("{}/input_items", {"order": "up"}, 400, "order"),
        ("{}/input_items", {"after": "msg_none"}, 400, "after"),
    ],
)
def test_what_cannot_be_is_refused(served, path, query, status, param):
    response = served.client.responses.create(model="m", input="Hi")
    answer = served.http.get(f"/responses/{path.format(response.id)}", params=query)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param


def test_only_background_responses_are_cancelled(served):
    response = served.client.responses.create(model="m", input="Hi")
    with pytest.raises(openai.BadRequestError, match="background"):
        served.client.responses.cancel(response.id)
    with pytest.raises(openai.BadRequestError, match="store"):
        served.client.responses.create(model="m", input="Hi", background=True, store=False)


@pytest.mark.parametrize("served", [{}, {"service": {"pause": 0.05}}], indirect=True)
def test_nobody_hears_of_an_end_that_is_not_stored(served, monkeypatch):
    """Neither by its stream, nor by asking for it, nor as the answer of who began it."""
    put, stored, told = served.state.store.put_response, set(), []

    async def slowly(record):
        # Without a pause the script is over before its beginning is stored.
        is_over = record.response["status"] == "completed"
        await asyncio.sleep(0.5 if is_over else 0.1)
        await put(record)
        if is_over:
            stored.add(record.response_id)

    def judge(response):
        if response.get("status") == "completed":
            told.append(response["id"] in stored)

    def answer(content, **more):
        judge(content)
        return JsonResponse(content, **more)

    def event(data, name=None, write=sse.event):
        judge(data.get("response", {}))
        return write(data, name)

    monkeypatch.setattr(served.state.store, "put_response", slowly)
    monkeypatch.setattr(routes, "JsonResponse", answer)
    monkeypatch.setattr(stored_routes, "JsonResponse", answer)
    monkeypatch.setattr(sse, "event", event)
    begun = served.client.responses.create(model="m", input="Hi", background=True)
    _until(lambda: served.client.responses.retrieve(begun.id).status == "completed")
    for background in (True, False):
        stream = served.client.responses.create(
            model="m", input="Hi", background=background, stream=True
        )
        first = next(iter(stream))
        _until(lambda: served.client.responses.retrieve(first.response.id).status == "completed")  # noqa: B023
        assert list(stream)[-1].type == "response.completed"
    assert len(told) >= 5
    assert all(told)

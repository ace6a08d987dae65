"""Two responses at once in one conversation: neither is lost, none answers half a history."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import openai
import pytest
from websockets.sync.client import connect

from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.http_server import serving
from support.scripted_service import ScriptedService
from support.waiting import wait_until

ONE_ANSWER = ["message", "reasoning", "message"]


@pytest.fixture
def served(request, tmp_path):
    """A server over a file, where reads may come before writes have ended."""
    store = SqliteStore(tmp_path)
    service = ScriptedService(**getattr(request, "param", {}))
    state = ServerState(settings=ServerSettings(aliases=("m",)), service=service, store=store)
    with (
        serving(create_app(state)) as address,
        openai.OpenAI(
            base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=20
        ) as client,
    ):
        yield SimpleNamespace(
            client=client,
            service=service,
            locks=state.conversation_locks,
            address=address,
            store=store,
        )
    asyncio.run(store.close())


STALLING = pytest.mark.parametrize("served", [{"stalls_after": 4}], indirect=True)


def _kinds(client, conversation_id):
    listed = client.conversations.items.list(conversation_id, order="asc", limit=100)
    return [item.type for item in listed]


def _refused(client, conversation_id):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="m", input="Second", conversation=conversation_id)
    assert (refused.value.code, refused.value.param) == ("conversation_locked", "conversation")
    assert refused.value.response.headers["retry-after"] == "1"


@STALLING
@pytest.mark.parametrize("way", ["whole", "stream", "background"])
def test_a_second_response_is_refused_until_the_first_is_there(served, way):
    client = served.client
    conversation = client.conversations.create()
    how = {"whole": {}, "stream": {"stream": True}, "background": {"background": True}}[way]
    with ThreadPoolExecutor(1) as pool:
        ask = lambda: client.responses.create(  # noqa: E731
            model="m", input="First", conversation=conversation.id, **how
        )
        first = pool.submit(ask)
        wait_until(served.service.stalled.is_set)
        _refused(client, conversation.id)
        # Another conversation, and none at all, are free.
        assert len(served.locks) == 1
        served.service.go_on.set()
        answer = first.result()
        if way == "stream":
            list(answer)
    wait_until(lambda: len(served.locks) == 0)
    assert _kinds(client, conversation.id) == ONE_ANSWER
    client.responses.create(model="m", input="Second", conversation=conversation.id)
    assert _kinds(client, conversation.id) == ONE_ANSWER * 2
    prompt = served.service.tokenizer.decode(served.service.requests[-1].prompt_ids)
    assert prompt.index("First") < prompt.index("Hello there.") < prompt.index("Second")


def test_many_at_once_neither_mix_nor_vanish(served):
    client = served.client
    conversation = client.conversations.create()

    def ask(number: int) -> str | None:
        try:
            client.responses.create(
                model="m", input=f"Question {number}", conversation=conversation.id
            )
        except openai.BadRequestError as error:
            return error.code
        return None

    with ThreadPoolExecutor(8) as pool:
        refusals = list(pool.map(ask, range(40)))
    assert set(refusals) <= {None, "conversation_locked"}
    answered = refusals.count(None)
    assert answered >= 1
    assert _kinds(client, conversation.id) == ONE_ANSWER * answered
    assert len(served.locks) == 0
    # Each was answered with all that went before it.
    lengths = sorted(
        served.service.tokenizer.decode(request.prompt_ids).count("Hello there.")
        for request in served.service.requests
    )
    assert lengths == list(range(answered))


@STALLING
def test_a_client_that_goes_away_frees_the_conversation(served):
    conversation = served.client.conversations.create()
    stream = served.client.responses.create(
        model="m", input="First", conversation=conversation.id, stream=True
    )
    next(iter(stream))
    wait_until(served.service.stalled.is_set)
    stream.close()
    wait_until(lambda: len(served.locks) == 0)
    assert _kinds(served.client, conversation.id) == [], "what was cut off is not kept there"


@STALLING
def test_so_does_one_that_is_cancelled(served):
    conversation = served.client.conversations.create()
    response = served.client.responses.create(
        model="m", input="First", conversation=conversation.id, background=True
    )
    wait_until(served.service.stalled.is_set)
    served.client.responses.cancel(response.id)
    assert len(served.locks) == 0


@pytest.mark.parametrize("served", [{"dies_after": 4}], indirect=True)
def test_so_does_one_that_fails(served):
    conversation = served.client.conversations.create()
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            served.client.responses.create(model="m", input="Hi", conversation=conversation.id)
    assert len(served.locks) == 0


def test_so_does_one_that_is_refused(served):
    for body in ({"input": [{"type": "nonsense"}]}, {"input": "Hi", "model": "none"}):
        conversation = served.client.conversations.create()
        with pytest.raises(openai.APIStatusError):
            served.client.responses.create(**{"model": "m", **body}, conversation=conversation.id)
        with pytest.raises(openai.NotFoundError):
            served.client.responses.create(model="m", input="Hi", conversation="conv_none")
    assert len(served.locks) == 0


@STALLING
def test_over_a_web_socket_too(served):
    conversation = served.client.conversations.create()
    body = {"type": "response.create", "model": "m", "conversation": conversation.id}
    path = served.address.replace("http", "ws") + "/v1/responses"
    with connect(path) as first, connect(path) as second:
        first.send(json.dumps({**body, "input": "First"}))
        wait_until(served.service.stalled.is_set)
        second.send(json.dumps({**body, "input": "Second"}))
        told = json.loads(second.recv(timeout=20))
        assert told["error"]["code"] == "conversation_locked"
        _refused(served.client, conversation.id)
        served.service.go_on.set()
        while json.loads(first.recv(timeout=20))["type"] != "response.completed":
            pass
    wait_until(lambda: len(served.locks) == 0)
    assert _kinds(served.client, conversation.id) == ONE_ANSWER


@STALLING
def test_items_that_are_added_meanwhile_stay_in_one_piece(served):
    client = served.client
    conversation = client.conversations.create()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            client.responses.create, model="m", input="First", conversation=conversation.id
        )
        wait_until(served.service.stalled.is_set)
        note = {"type": "message", "role": "developer", "content": "A note"}
        client.conversations.items.create(conversation.id, items=[note])
        served.service.go_on.set()
        first.result()
    assert _kinds(client, conversation.id) == ["message", *ONE_ANSWER]


@STALLING
def test_a_conversation_that_is_deleted_meanwhile_stays_so(served):
    client = served.client
    conversation = client.conversations.create()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            client.responses.create, model="m", input="First", conversation=conversation.id
        )
        wait_until(served.service.stalled.is_set)
        client.conversations.delete(conversation.id)
        served.service.go_on.set()
        assert first.result().output_text == "Hello there."
    assert asyncio.run(served.store.get_items(conversation.id)) == []

"""Conversations over a socket, with the SDK."""

from __future__ import annotations

import asyncio

import openai
import pytest

from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.http_server import serving
from support.scripted_service import ScriptedService


@pytest.fixture
def client():
    store = SqliteStore()
    state = ServerState(
        settings=ServerSettings(aliases=("m",)), service=ScriptedService(), store=store
    )
    with (
        serving(create_app(state)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        client.scripted = state.service
        yield client
    asyncio.run(store.close())


def test_all_operations(client):
    conversation = client.conversations.create(
        metadata={"topic": "x"}, items=[{"type": "message", "role": "user", "content": "One"}]
    )
    assert client.conversations.retrieve(conversation.id) == conversation
    changed = client.conversations.update(conversation.id, metadata={"topic": "y"})
    assert changed.metadata == {"topic": "y"}
    added = client.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "assistant", "content": "Two"}]
    )
    (two,) = added.data
    texts = [
        item.content[0].text
        for item in client.conversations.items.list(conversation.id, order="asc")
    ]
    assert texts == ["One", "Two"]
    assert client.conversations.items.retrieve(two.id, conversation_id=conversation.id) == two
    assert client.conversations.items.delete(two.id, conversation_id=conversation.id) == changed
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(two.id, conversation_id=conversation.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.delete(two.id, conversation_id=conversation.id)
    assert client.conversations.delete(conversation.id).deleted
    for operation in (client.conversations.retrieve, client.conversations.delete):
        with pytest.raises(openai.NotFoundError):
            operation(conversation.id)


def test_responses_go_on_in_a_conversation(client):
    conversation = client.conversations.create()
    for text in ("One", "Two"):
        response = client.responses.create(model="m", input=text, conversation=conversation.id)
        assert response.conversation.id == conversation.id
    listed = list(client.conversations.items.list(conversation.id, order="asc"))
    assert [item.type for item in listed] == ["message", "reasoning", "message"] * 2
    prompt = client.scripted.tokenizer.decode(client.scripted.requests[-1].prompt_ids)
    assert "One" in prompt
    assert "Hello there." in prompt


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([], "items"),
        ([{"type": "message", "role": "user", "content": "x"}] * 21, "items"),
        ([{"type": "nonsense"}], "items[0].type"),
        ([{"type": "function_call", "call_id": "c"}], "items[0].name"),
    ],
)
def test_bad_items_are_refused(client, items, param):
    conversation = client.conversations.create()
    with pytest.raises(openai.BadRequestError) as refused:
        client.conversations.items.create(conversation.id, items=items)
    assert refused.value.param == param


def test_unknown_conversations_and_two_histories_are_refused(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="m", input="Hi", conversation="conv_none")
    with pytest.raises(openai.BadRequestError, match="exclude"):
        client.responses.create(
            model="m", input="Hi", conversation="conv_none", previous_response_id="resp_none"
        )

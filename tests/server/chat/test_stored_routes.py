"""Chat completions that were kept, as the hosted API's own client sees them."""

from __future__ import annotations

import asyncio

import openai
import pytest

from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.api_client import MODEL, openai_client
from support.http_server import serving
from support.scripted_service import ScriptedService

PARTS = [{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}]
CHAT = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": PARTS}]


@pytest.fixture
def kept():
    """What a client may do with kept completions, over an empty store."""
    store = SqliteStore()
    state = ServerState(settings=ServerSettings(), service=ScriptedService(), store=store)
    with (
        serving(create_app(state)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client.chat.completions
    asyncio.run(store.close())


def _made(kept, **metadata: str):
    return kept.create(model=MODEL, messages=CHAT, store=True, metadata=metadata)


def test_what_was_kept_is_what_was_answered(kept):
    made = _made(kept, topic="greeting")
    got = kept.retrieve(made.id)
    assert got.choices == made.choices
    assert got.usage == made.usage
    assert got.metadata == {"topic": "greeting"}


def test_its_messages_have_ids_and_their_parts_beside_the_text(kept):
    made = _made(kept)
    developer, user = kept.messages.list(made.id)
    assert (developer.role, developer.content, developer.content_parts) == (
        "developer",
        "Be brief.",
        None,
    )
    assert user.content == "Say hello."
    assert [part.text for part in user.content_parts] == ["Say ", "hello."]
    assert developer.id != user.id
    (last,) = kept.messages.list(made.id, order="desc", limit=1).data
    assert last.id == user.id
    assert list(kept.messages.list(made.id, after=developer.id)) == [user]


def test_a_list_in_pages_by_metadata_and_model(kept):
    ids = [_made(kept, topic="a" if number % 2 else "b").id for number in range(5)]
    kept.create(model=MODEL, messages=CHAT, metadata={"topic": "a"})  # not to be kept
    assert sorted(one.id for one in kept.list(limit=2)) == sorted(ids)
    assert sorted(one.id for one in kept.list(metadata={"topic": "a"})) == sorted(ids[1::2])
    assert [one.id for one in kept.list(order="desc")] == [one.id for one in kept.list()][::-1]
    assert len(list(kept.list(model=MODEL))) == 5
    assert list(kept.list(model="another")) == []


def test_metadata_changes_and_nothing_else(kept):
    made = _made(kept, topic="greeting")
    changed = kept.update(made.id, metadata={"checked": "yes"})
    assert changed.metadata == {"checked": "yes"}
    assert kept.retrieve(made.id) == changed
    assert changed.choices == made.choices
    assert [message.role for message in kept.messages.list(made.id)] == ["developer", "user"]
    with pytest.raises(openai.BadRequestError, match="metadata"):
        kept.update(made.id, metadata={"x" * 65: "too long"})


def test_deleted_is_gone(kept):
    made = _made(kept)
    assert kept.delete(made.id).deleted
    for ask in (kept.retrieve, kept.delete, kept.messages.list):
        with pytest.raises(openai.NotFoundError, match=made.id):
            ask(made.id)
    with pytest.raises(openai.NotFoundError):
        kept.update(made.id, metadata={})


def test_a_completion_that_was_not_to_be_kept_is_not_found(kept):
    made = kept.create(model=MODEL, messages=CHAT)
    with pytest.raises(openai.NotFoundError):
        kept.retrieve(made.id)


def test_a_server_without_a_store_says_that_it_keeps_nothing():
    with openai_client(ScriptedService()) as client:
        made = client.chat.completions.create(model=MODEL, messages=CHAT, store=True)
        with pytest.raises(openai.NotFoundError, match="not offered"):
            client.chat.completions.retrieve(made.id)

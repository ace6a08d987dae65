"""What random requests have found once: each was a fault of the server, or was taken in silence."""

from __future__ import annotations

import pytest

from ossia.api.events import MessageDone, ToolCallDelta
from ossia.server.anthropic.fold import MessageFold
from ossia.server.app import create_app
from ossia.server.reasoning_memory import ReasoningMemory
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.http_server import serving
from support.raw_http import exchange, post, request
from support.scripted_service import ScriptedService

_HI = {"role": "user", "content": "Hi"}


@pytest.fixture(scope="module")
def address():
    state = ServerState(settings=ServerSettings(), service=ScriptedService(), store=SqliteStore())
    with serving(create_app(state)) as address:
        yield address


@pytest.mark.parametrize("kind", [{}, [], 1, None])
def test_kinds_of_parts_that_are_no_strings(address, kind):
    part = {"type": kind}
    for path, body in (
        ("/v1/responses", {"input": [{"role": "user", "content": [part]}]}),
        ("/v1/conversations", {"items": [{"role": "user", "content": [part]}]}),
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}),
        ("/v1/messages/count_tokens", {"messages": [_HI], "system": [part]}),
    ):
        assert exchange(address, post(path, body)).status == 400, path


def test_items_of_foreign_tools_may_stand_in_a_conversation(address):
    body = {"items": [{"type": "web_search_call", "id": "ws_1"}]}
    assert exchange(address, post("/v1/conversations", body)).status == 200


@pytest.mark.parametrize(
    "block",
    [
        {"type": "search_result", "content": {}},
        {"type": "search_result", "title": {}},
        {"type": "document", "source": {"type": "content", "content": 0}},
        {"type": "document", "source": {"type": "text", "data": "x"}, "title": 1},
    ],
)
def test_blocks_of_the_wrong_kind_are_not_taken_as_empty(address, block):
    body = {"messages": [_HI], "system": [block]}
    assert exchange(address, post("/v1/messages/count_tokens", body)).status == 400


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/responses/x?starting_after=-1", "starting_after"),
        ("/v1/responses/x?include_obfuscation=maybe", "include_obfuscation"),
        ("/v1/chat/completions?metadata[a][b]=c", "metadata"),
        ("/v1/chat/completions?metadata[]=c", "metadata"),
    ],
)
def test_a_query_is_checked_also_where_it_does_not_matter(address, path, param):
    answer = exchange(address, request("GET", path))
    assert (answer.status, answer.error["param"]) == (400, param)


def test_a_chat_to_be_tokenized_is_checked_to_its_last_member(address):
    body = {"messages": [_HI], "return_token_strs": "yes"}
    answer = exchange(address, post("/tokenize", body))
    assert (answer.status, answer.error["param"]) == (400, "return_token_strs")


def test_a_name_that_cannot_be_written_is_refused_where_it_stands(address):
    body = {"messages": [_HI, {"role": "function", "name": "a b", "content": "x"}]}
    for path in ("/v1/chat/completions", "/render", "/tokenize"):
        answer = exchange(address, post(path, body))
        assert (answer.status, answer.error["param"]) == (400, "messages[1].name")


def test_two_histories_are_a_fault_of_a_field(address):
    body = {"input": "Hi", "previous_response_id": "resp_x", "conversation": {"id": "conv_x"}}
    answer = exchange(address, post("/v1/responses", body))
    assert (answer.status, answer.error["param"]) == (400, "conversation")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [_HI], "top_p": 0}),
        ("/v1/completions", {"prompt": "Hi", "top_p": 0}),
        ("/v1/messages", {"messages": [_HI], "max_tokens": 9, "top_p": 0}),
        ("/v1/responses", {"input": "Hi", "top_p": 0}),
    ],
)
def test_only_the_likeliest_token_may_be_asked_for(address, path, body):
    assert exchange(address, post(path, body)).status == 200


def test_a_long_name_is_not_given_back_in_full(address):
    body = {"messages": [_HI], "logit_bias": {"9" * 100_000: "x"}}
    answer = exchange(address, post("/v1/chat/completions", body))
    assert answer.status == 400
    assert len(answer.body) < 1000


def test_arguments_that_json_cannot_hold_are_given_as_text():
    """The model can write half of a surrogate pair into the arguments of a call."""
    fold = MessageFold("m", 1, "hidden", ReasoningMemory())
    fold.push(ToolCallDelta("f", '{"a": "\\ud800"}'))
    fold.push(MessageDone(None))  # type: ignore[arg-type]
    assert fold.message["content"][-1]["input"] == {"input": '{"a": "\\ud800"}'}

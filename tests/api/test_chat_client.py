"""ChatClient against a server on 127.0.0.1 that does what servers do, and worse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ossia.api.chat_client import ChatClient
from ossia.api.events import ReasoningDelta, TextDelta
from ossia.errors import RequestError, ServerError
from support.fake_chat_server import FINISHED, event, fake_chat_server

DONE = "data: [DONE]"


def _ask(client: ChatClient, text: str = "Hi") -> str:
    return "".join(delta.text for delta in client.ask(text) if isinstance(delta, TextDelta))


def test_an_answer_comes_in_pieces_and_is_remembered():
    lines = [
        event(role="assistant"),
        event(reasoning="Hm. "),
        event(content="Hel"),
        event(content="lo"),
    ]
    with fake_chat_server(lines=[[*lines, FINISHED, DONE], [event(content="Yes"), DONE]]) as server:
        opening = [{"role": "system", "content": "Be kind."}]
        client = ChatClient(server.address, "a/model", {"seed": 3}, "key", opening)
        assert list(client.ask("Hi")) == [ReasoningDelta("Hm. "), TextDelta("Hel"), TextDelta("lo")]
        assert _ask(client, "Sure?") == "Yes"
        path, asked, authorization = server.requests[1]
        assert (path, authorization) == ("/v1/chat/completions", "Bearer key")
        assert asked == {
            "model": "a/model",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "Sure?"},
            ],
            "stream": True,
            "seed": 3,
        }
        client.reset()
        assert client.messages == []


def test_the_first_model_is_asked_where_none_is_named():
    with fake_chat_server(lines=[[event(content="Yes"), FINISHED]]) as server:
        assert _ask(ChatClient(f"http://{server.address}/v1/")) == "Yes"
        assert [path for path, _, _ in server.requests] == ["/v1/models", "/v1/chat/completions"]
        assert server.requests[1][1]["model"] == "first/model"
        server.models = {"data": []}
        with pytest.raises(ServerError, match="lists no model"):
            _ask(ChatClient(server.address))


def test_comments_event_names_and_a_whole_answer_are_understood():
    lines = [": ping", "event: x", event(reasoning_content="Hm", content="Yes"), FINISHED]
    with fake_chat_server(lines=[lines]) as server:
        found = list(ChatClient(server.address, "m").ask("Hi"))
        assert found == [ReasoningDelta("Hm"), TextDelta("Yes")]
    whole = json.dumps({"choices": [{"message": {"content": "Whole."}}]}).encode()
    with fake_chat_server(body=whole, content_type="application/json") as server:
        assert _ask(ChatClient(server.address, "m")) == "Whole."


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"status": 500, "body": b"oh no"}, "answered 500: oh no"),
        ({"status": 404, "body": b'{"error": {"message": "no such model"}}'}, "404: no such model"),
        ({"status": 422, "body": b'{"detail": "bad"}'}, "422: bad"),
        ({"status": 503, "body": b""}, "503: nothing more"),
        ({"body": b"<html>", "content_type": "text/html"}, "no JSON object: '<html>'"),
        ({"lines": [["data: {nonsense"]]}, "no JSON object"),
        ({"lines": [["data: [1]"]]}, "no JSON object"),
        ({"lines": [['data: {"error": {"message": "out of memory"}}']]}, "out of memory"),
        ({"lines": [[event(content="Hel")]]}, "in the middle of the answer"),
        ({"lines": [[event(content="Hel")]], "cut": True}, "broke off"),
        ({"lines": [[]]}, "in the middle of the answer"),
    ],
)
def test_faults_are_one_line_and_what_came_is_kept(settings: dict[str, Any], match: str):
    with fake_chat_server(**settings) as server:
        client = ChatClient(server.address, "m")
        came: list[str] = []
        with pytest.raises(ServerError, match=match) as error:
            came.extend(delta.text for delta in client.ask("Hi"))
        assert "\n" not in str(error.value)
        assert "".join(one["content"] for one in client.messages[1:]) == "".join(came)


def test_a_closed_answer_is_the_text_so_far():
    with fake_chat_server(lines=[[event(content="Hel"), event(content="lo"), FINISHED]]) as server:
        client = ChatClient(server.address, "m")
        pieces = client.ask("Hi")
        next(pieces)
        pieces.close()
        assert client.messages[1]["content"] == "Hel"


def test_nobody_there():
    with pytest.raises(ServerError, match="cannot be reached"):
        _ask(ChatClient("127.0.0.1:9", "m"))


@pytest.mark.parametrize("address", ["ftp://x", "http://", "localhost:banana", "localhost:99999"])
def test_what_is_no_address(address: str):
    with pytest.raises(RequestError, match="url"):
        ChatClient(address)


def test_addresses_are_completed():
    for given, full in (
        ("localhost:8000", "http://localhost:8000/v1"),
        ("https://example.org", "https://example.org/v1"),
        ("https://example.org/api/", "https://example.org/api"),
        ("[::1]:80", "http://[::1]:80/v1"),
    ):
        assert ChatClient(given).address == full

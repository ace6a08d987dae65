"""docs/server_fields.md, held to the types of the SDKs and to what the server does with each field."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from ossia.server.app import create_app
from ossia.server.responses.sealing import COMPACTION, Sealer
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore, StoredResponse
from support.http_server import serving
from support.request_examples import (
    BEFORE,
    CONVERSATION,
    ITEM,
    OTHER_SUMMARY,
    SEALED,
    SEALED_SUMMARY,
    SHARED_KEY,
    Example,
    example,
)
from support.request_sections import SECTIONS
from support.scripted_service import ScriptedService

_PAGE = Path(__file__).parents[2] / "docs" / "server_fields.md"
_ROW = re.compile(r"^\| `([^`]+)` \| ([a-z ]+) \| (.*) \|$", re.MULTILINE)
# What differs from one answer to the next: ids, times, what is sealed.
_PASSING = re.compile(
    r'"(?:created\w*|completed_at)":\d+|[a-z]+[_-][0-9a-f]{24,}'
    r'|(?<="type":"compaction",)"encrypted_content":"[^"]*"'
)


def _tables() -> dict[str, dict[str, tuple[str, str]]]:
    """By heading: name -> (verdict, why)."""
    _, *parts = _PAGE.read_text().split("\n## ")
    return {
        part.partition("\n")[0]: {name: (verdict, why) for name, verdict, why in _ROW.findall(part)}
        for part in parts
    }


_TABLES = _tables()
_TRIED = [
    pytest.param(section, name, verdict, id=f"{section}-{name}")
    for section, rows in _TABLES.items()
    for name, (verdict, _) in rows.items()
    if not section.startswith("POST /v1/conversations")  # tests/server/conversations tries them
]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_of_the_sdks_is_in_the_table_and_no_other(section):
    assert {*_TABLES[section]} == SECTIONS[section]()


def test_a_field_without_effect_says_why():
    assert {*_TABLES} == {*SECTIONS}
    for rows in _TABLES.values():
        for name, (verdict, why) in rows.items():
            assert verdict in ("honoured", "echoed", "no effect", "left out", "refused"), name
            assert why or verdict != "no effect", name


class _SharedStore(SqliteStore):
    shared_key = SHARED_KEY


@pytest.fixture(scope="module")
def server():
    service, store = ScriptedService(), _SharedStore()
    asyncio.run(_fill(store))
    settings = ServerSettings(aliases=("m",))
    state = ServerState(settings=settings, service=service, store=store)
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(store.close()))
        address = stack.enter_context(serving(create_app(state)))
        http = stack.enter_context(httpx2.Client(base_url=f"{address}/v1", timeout=20))
        yield SimpleNamespace(http=http, service=service)


async def _fill(store: SqliteStore) -> None:
    """What the examples refer to."""
    said = {"type": "message", "role": "assistant", "content": [], "id": ITEM}
    said["content"] = [{"type": "output_text", "text": "Before."}]
    thought = {"type": "reasoning", "id": "rs_before"}
    thought["content"] = [{"type": "reasoning_text", "text": "Before."}]
    asked = {"type": "message", "role": "user", "id": "msg_asked"}
    asked["content"] = [{"type": "input_text", "text": "Before?"}]
    response = {"id": BEFORE, "status": "completed", "created_at": 0, "output": [thought, said]}
    await store.put_response(StoredResponse(response=response, input_items=[asked]))
    await store.put_conversation({"id": CONVERSATION, "created_at": 0, "metadata": {}})
    await store.add_items(CONVERSATION, [asked | {"id": "msg_talk"}])


def _ask(server, path: str, body: dict) -> SimpleNamespace:
    """What the model was asked, and all that a client sees of the answer."""
    sealer = Sealer(SHARED_KEY, server.service.model)
    raw = json.dumps(body).replace(SEALED, sealer.seal("Sealed."))
    for summary in (OTHER_SUMMARY, SEALED_SUMMARY):
        raw = raw.replace(f'"{summary}"', f'"{sealer.seal(summary, COMPACTION)}"')
    service = server.service
    service.questions.clear()
    service.requests.clear()
    answer = server.http.post(path, content=raw, headers={"content-type": "application/json"})
    asked = [repr(replace(one, deadline=0.0)) for one in service.questions]
    if not asked:  # a text completion
        asked = [repr(replace(one, deadline=0.0, request_id="")) for one in service.requests]
    told = answer.text
    if answer.is_success and not body.get("stream"):
        found = answer.json().get("id")
        kept = f"{path}/{found}" + ("/input_items" if path == "/responses" else "")
        told += server.http.get(kept).text if found else ""
    return SimpleNamespace(
        status=answer.status_code,
        text=answer.text,
        headers=answer.headers,
        asked=asked,
        told=_PASSING.sub("", told),
    )


_PLACES = {
    "Responses: items of `input`": "input[1].type",
    "Responses: parts of a content": "input[0].content[0]",
    "Responses: `tools`": "tools[0].type",
    "Responses: `tool_choice`": "tool_choice.type",
    "Chat: parts of a content": "messages[0].content[0].type",
    "Messages: blocks of a content": "messages[0].content[1].type",
    "Messages: `tools`": "tools[0].type",
}

# Names, ids and words that mean nothing: that they are refused shows that somebody looks.
_BY_REFUSAL = {
    ("POST /v1/responses", "model"),
    ("POST /v1/responses/input_tokens", "model"),
    ("POST /v1/responses/input_tokens", "reasoning"),
    ("POST /v1/responses/input_tokens", "tool_choice"),
    ("POST /v1/responses/input_tokens", "truncation"),
    ("POST /v1/responses/compact", "model"),
    ("POST /v1/chat/completions", "model"),
    ("POST /v1/completions", "model"),
    ("POST /v1/messages", "model"),
    ("Responses: items of `input`", "item_reference.id"),
    ("Responses: items of `input`", "function_call.status"),
    ("Responses: items of `input`", "function_call_output.call_id"),
    ("Responses: items of `input`", "custom_tool_call_output.call_id"),
    ("Chat: `messages`", "tool.tool_call_id"),
    ("Messages: blocks of a content", "tool_result.tool_use_id"),
    ("Messages: blocks of a content", "tool_use.id"),
}


@pytest.mark.parametrize(("section", "name", "verdict"), _TRIED)
def test_a_field_is_dealt_with_as_the_table_says(server, section, name, verdict):
    pair: Example = example(section, name)
    given = _ask(server, pair.path, pair.given)
    if verdict == "refused":
        assert given.status == 400, given.text
        param = json.loads(given.text)["error"].get("param") or given.text
        last = name.rpartition(".")[2]
        is_kind = ": " in section and "." not in name
        assert (
            ("type" in param or section.split("`")[-2:][0] in param or "content" in param)
            if is_kind
            else last in param
        )
        return
    plain = _ask(server, pair.path, pair.plain)
    assert plain.status == 200, plain.text
    match verdict:
        case "honoured":
            assert (given.asked, given.told) != (plain.asked, plain.told)
            assert given.status == 200 or (section, name) in _BY_REFUSAL, given.text
        case "echoed":
            assert given.asked == plain.asked
            assert given.told != plain.told
        case "no effect":
            assert given.status == 200, given.text
            assert (given.asked, given.told) == (plain.asked, plain.told)
        case "left out":
            assert given.status == 200, given.text
            assert given.asked == plain.asked
            assert pair.path == "/messages" or "(" in given.headers["x-ossia-left-out"]

"""The page's tables say what the code does."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import fields

import pytest

from ossia.server.api_error import ApiError
from ossia.server.app import create_app
from ossia.server.options import ModelOptions
from ossia.server.service import ServiceState
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore, StoredResponse
from serving_page.table import page
from support.api_client import MODEL, serving_script
from support.http_server import serving
from support.raw_http import connect, exchange, post, read_answer, request
from support.scripted_service import ScriptedService

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
ASKED = {"model": MODEL, "input": "Hi"}
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "Mi": 2**20}


def _rows(heading: str) -> list[list[str]]:
    section = page().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_limits():
    defaults = {
        each.name: each.default for kind in (ServerSettings, ModelOptions) for each in fields(kind)
    }
    listed = {}
    for names, _, values in _rows("Limits"):
        for name, value in zip(names.split(", "), values.split(", "), strict=True):
            number, _, unit = value.partition(" ")
            known = number.isdecimal()
            listed[name.strip("`")] = int(number) * UNITS.get(unit, 1) if known else None
    assert listed == {name: defaults[name] for name in listed}
    bounded = {name for name in defaults if name.startswith("max_")} | {
        name for name in defaults if name.endswith("_timeout")
    }
    assert bounded <= set(listed)


def _answer(sent: bytes, service: ScriptedService | None = None, **settings):
    with serving_script(service or ScriptedService(), **settings) as address:
        return exchange(address, sent)


def _too_slow():
    with (
        serving_script(ScriptedService(), body_timeout=0.2) as address,
        connect(address) as connection,
    ):
        connection.sendall(post("/tokenize", {"prompt": "a"})[:-5])
        return read_answer(connection)


def _bad_schema():
    schema = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
    return post(
        "/v1/responses",
        {**ASKED, "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}},
    )


def _locked():
    store = SqliteStore()
    state = ServerState(settings=ServerSettings(), service=ScriptedService(), store=store)
    state.conversation_locks.hold("conv_1")
    with serving(create_app(state)) as address:
        answer = exchange(address, post("/v1/responses", {**ASKED, "conversation": "conv_1"}))
    asyncio.run(store.close())
    return answer


def _made_elsewhere():
    store = SqliteStore()
    begun = {"id": "resp_1", "status": "in_progress", "output": []}
    asyncio.run(store.put_response(StoredResponse(response=begun)))
    state = ServerState(settings=ServerSettings(), service=ScriptedService(), store=store)
    with serving(create_app(state)) as address:
        answer = exchange(address, request("DELETE", "/v1/responses/resp_1"))
    asyncio.run(store.close())
    return answer


_REFUSALS = {
    (400, "context_length_exceeded"): lambda: _answer(
        post("/v1/responses", {**ASKED, "input": "word " * 200}), ScriptedService(max_context=100)
    ),
    (400, "invalid_json"): lambda: _answer(post("/v1/responses", b"[" * 10)),
    (400, "previous_response_not_found"): lambda: _answer(
        post("/v1/responses", {**ASKED, "previous_response_id": "resp_1"})
    ),
    (400, "invalid_encrypted_content"): lambda: _answer(
        post("/v1/responses", {"input": [{"type": "reasoning", "encrypted_content": "AQ=="}]})
    ),
    (400, "conversation_locked"): _locked,
    (400, None): lambda: _answer(_bad_schema()),
    (401, "invalid_api_key"): lambda: _answer(request("GET", "/v1/models"), api_keys=("k",)),
    (403, "host_not_allowed"): lambda: _answer(request("GET", "/health", {"Host": "x.example"})),
    (403, "origin_not_allowed"): lambda: _answer(
        request("GET", "/health", {"Origin": "https://x.example"})
    ),
    (404, "model_not_found"): lambda: _answer(post("/v1/responses", {**ASKED, "model": "x"})),
    (404, "not_offered"): lambda: _answer(request("GET", "/v1/embeddings")),
    (408, None): _too_slow,
    (409, "response_made_elsewhere"): _made_elsewhere,
    (413, "request_too_large"): lambda: _answer(
        post("/v1/responses", {**ASKED, "input": "x" * 2000}), max_body_bytes=1000
    ),
    (415, "unsupported_media_type"): lambda: _answer(
        post("/v1/responses", ASKED, **{"Content-Type": "text/plain"})
    ),
    (422, "no_summary"): lambda: _answer(
        post("/v1/responses/compact", ASKED),
        ScriptedService("<|channel|>final<|message|><|return|>"),
    ),
    (429, "rate_limit_exceeded"): lambda: _answer(
        post("/v1/responses", ASKED), ScriptedService(refuse=ApiError.overloaded("too much waits"))
    ),
    (431, None): lambda: _answer(request("GET", "/health", {"X-Long": "a" * 100_000})),
    (503, "unavailable"): lambda: _answer(
        post("/v1/responses", ASKED), ScriptedService(state=ServiceState.LOADING)
    ),
}


def test_every_refusal_of_the_table_is_tried():
    listed = {
        (int(status), code.strip("`") if code.startswith("`") else None)
        for status, code, _ in _rows("When something is refused")
    }
    assert listed == set(_REFUSALS)


@pytest.mark.parametrize("refusal", _REFUSALS, ids=str)
def test_refusal(refusal):
    answer = _REFUSALS[refusal]()
    assert (answer.status, answer.error["code"]) == refusal
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["message"]
    if refusal == (429, "rate_limit_exceeded"):
        assert int(answer.headers["retry-after"]) >= 1
    if refusal == (400, None):
        assert re.search("nonsense", json.dumps(answer.error)), answer.error

"""Fields that mean nothing here are named in a header of the answer."""

from __future__ import annotations

from typing import Annotated

import httpx2
import pytest
from pydantic import Field

from ossia.server.body import RequestModel
from ossia.server.ignored import ignored_names
from support.api_client import MODEL, serving_script
from support.scripted_service import ScriptedService

HI = [{"role": "user", "content": "Hi"}]
BODIES = {
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 5},
}


def _header(path: str, **members: object) -> str | None:
    with serving_script(ScriptedService()) as address:
        answer = httpx2.post(address + path, json={"model": MODEL, **BODIES[path], **members})
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-ossia-ignored")


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True])
def test_unknown_fields_are_named(path: str, stream: bool) -> None:
    assert _header(path, stream=stream, guided_json={}, num_ctx=5) == "guided_json, num_ctx"
    assert _header(path, stream=stream, temperature=0.5) is None


def test_names_cannot_write_headers_of_their_own() -> None:
    odd = {"a\r\nx-evil: 1": 1, "b, c": 2, "\N{SNOWMAN}": 3, "d" * 100: 4}
    header = _header("/v1/chat/completions", **odd)
    assert header == f"a??x-evil??1, b??c, ?, {'d' * 64}"


def test_ten_names_are_enough() -> None:
    names = ignored_names([f"f{number}" for number in range(1000)], RequestModel)
    assert names == b", ".join(b"f%d" % number for number in range(10))


def test_a_field_is_known_by_the_name_that_clients_write() -> None:
    class Body(RequestModel):
        schema_: Annotated[int | None, Field(alias="schema")] = None

    assert ignored_names(["schema"], Body) == b""
    assert ignored_names(["schema_"], Body) == b"schema_"

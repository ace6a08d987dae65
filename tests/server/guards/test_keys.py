"""Keys: where they are asked for, and how they are compared."""

from __future__ import annotations

import ast
import asyncio
import hmac
import inspect
import textwrap

import pytest

from ossia.errors import ConfigError
from ossia.server.guards import keys
from ossia.server.guards.keys import OPEN_PATHS, key_digest
from ossia.server.settings import ServerSettings
from ossia.server.store import SqliteStore, StoredResponse
from support.api_client import serving_script
from support.raw_http import connect, exchange, request
from support.scripted_service import ScriptedService
from support.security import KEY, KEYS, UPGRADE, http_routes

GUARDED = (
    "/v1/models",
    "/v1/models/x",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/nothing",
    "/tokenize",
    "/detokenize",
    "/render",
    "/metrics",
    "/version",
    "/api/version",
    "/api/tags",
    "/",
    "//health",
    "/health/",
    "/health/../v1/models",
    "/HEALTH",
)


@pytest.fixture
def guarded():
    with serving_script(ScriptedService(), **KEYS) as address:
        yield address


class TestGuardByPrefix:
    """Routes outside of /v1 that nobody guards (vLLM's documentation warns of its own)."""

    @pytest.mark.parametrize("path", GUARDED)
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
    def test_every_route_asks_for_a_key(self, guarded, path, method):
        answer = exchange(guarded, request(method, path))
        assert answer.status == 401
        assert answer.error["code"] == "invalid_api_key"
        assert answer.headers["x-request-id"]

    @pytest.mark.parametrize(("method", "path"), http_routes(), ids=" ".join)
    def test_none_that_there_is_was_forgotten(self, guarded, method, path):
        answer = exchange(guarded, request(method, path))
        assert (answer.status == 401) is (path not in OPEN_PATHS)

    def test_what_is_open_was_decided(self):
        assert set(OPEN_PATHS) == {"/health", "/ready"}

    @pytest.mark.parametrize("path", ["/health", "/ready"])
    def test_health_checks_do_not(self, guarded, path):
        assert exchange(guarded, request("GET", path)).status == 200

    def test_a_web_socket_does(self, guarded):
        for more, status in (({}, 401), ({"X-Api-Key": "x"}, 401), ({"X-Api-Key": KEY}, 101)):
            sent = request("GET", "/v1/responses", {**UPGRADE, **more})
            with connect(guarded) as connection:
                connection.sendall(sent)
                assert connection.recv(65536).startswith(b"HTTP/1.1 %d " % status)


class TestKeysInOtherHeaders:
    """A key that is judged differently in another header (CVE-2026-45339)."""

    @pytest.mark.parametrize("key", [KEY, "other"])
    def test_both_headers_open(self, guarded, key):
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-Api-Key": key}):
            assert exchange(guarded, request("GET", "/v1/models", headers)).status == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {KEY}"},
            {"Authorization": KEY},
            {"X-Api-Key": ""},
            {"X-Api-Key": f"{KEY}x"},
            {"X-Api-Key": "' OR '1'='1"},
            {"X-Api-Key": "\xff\xfe"},
            {"X-Api-Key": key_digest("other").hex()},
            {"X-Api-Key": f"sha256:{key_digest('other').hex()}"},
            {"Cookie": f"key={KEY}"},
        ],
    )
    def test_nothing_else_does(self, guarded, headers):
        assert exchange(guarded, request("GET", "/v1/models", headers)).status == 401

    def test_a_key_in_the_query_does_not(self, guarded):
        assert exchange(guarded, request("GET", f"/v1/models?api_key={KEY}")).status == 401


class TestTimingOfKeys:
    """Keys compared byte by byte tell how much of them is right (CVE-2025-59425)."""

    def test_every_key_is_compared_by_digest_in_constant_time(self, guarded, monkeypatch):
        seen = []
        compare_digest = hmac.compare_digest

        def compare(first, second):
            seen.append((first, second))
            return compare_digest(first, second)

        monkeypatch.setattr(keys.hmac, "compare_digest", compare)
        exchange(guarded, request("GET", "/v1/models", {"X-Api-Key": KEY}))
        assert len(seen) == 2, "also those behind the right one"
        assert all(len(first) == len(second) == 32 for first, second in seen)

    def test_the_guard_compares_with_nothing_else(self):
        """No `==`, no `in` stands between a key that was given and one that is known."""
        source = textwrap.dedent(inspect.getsource(keys.KeyGuard._is_known))
        compares = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare)]
        assert len(compares) == 1
        assert ast.unparse(compares[0]).endswith("> 0")
        assert "compare_digest" in ast.unparse(compares[0])

    def test_settings_do_not_show_keys(self):
        assert KEY not in repr(ServerSettings(**KEYS))

    @pytest.mark.parametrize("key", ["", "two words", "line\n", "\N{SNOWMAN}"])
    def test_keys_that_no_header_can_hold_are_refused(self, key):
        with pytest.raises(ConfigError, match="printable"):
            key_digest(key)


class TestSqlInKeysAndIds:
    """Words of SQL in what becomes part of a query (CVE-2026-42208)."""

    HOSTILE = (
        "' OR '1'='1",
        "x' OR 1=1 --",
        "x'; DROP TABLE responses; --",
        'x" UNION SELECT body FROM responses --',
        "%",
        "_",
        "x\\' OR 1=1 --",
    )

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_as_a_key_it_opens_nothing(self, guarded, hostile):
        for headers in ({"X-Api-Key": hostile}, {"Authorization": f"Bearer {hostile}"}):
            assert exchange(guarded, request("GET", "/v1/models", headers)).status == 401

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_as_an_id_it_is_an_id(self, hostile):
        async def main():
            store = SqliteStore()
            response = {"id": "resp_1", "status": "completed", "output": [{"id": "msg_1"}]}
            record = StoredResponse(response=response, input_items=[{"id": "in_1"}])
            await store.put_response(record)
            await store.put_conversation({"id": "conv_1", "metadata": {}})
            await store.add_items("conv_1", [{"id": "it_1"}])
            assert await store.get_response(hostile) is None
            assert await store.get_item(hostile) is None
            assert await store.get_events(hostile) == []
            assert await store.get_conversation(hostile) is None
            assert await store.get_items(hostile) == []
            assert await store.get_chat(hostile) is None
            assert await store.list_chats(model=hostile) == []
            assert await store.list_chats(metadata={hostile: hostile}) == []
            for delete in (store.delete_response, store.delete_conversation, store.delete_chat):
                assert not await delete(hostile)
            assert not await store.delete_item("conv_1", hostile)
            # What is kept under such an id is found under it alone, and the rest is still there.
            odd = {**response, "id": hostile, "output": []}
            await store.put_response(StoredResponse(response=odd))
            assert (await store.get_response(hostile)).response == odd
            assert (await store.get_response("resp_1")).response == response
            assert await store.get_items("conv_1") == [{"id": "it_1"}]
            await store.close()

        asyncio.run(main())

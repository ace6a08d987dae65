"""Requests that another name, or another site's page, leads here."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as web_socket

from ossia.server.guards.keys import OPEN_PATHS
from support.api_client import serving_script
from support.raw_http import exchange, post, request
from support.scripted_service import ScriptedService
from support.security import BODIES, CHAT, KEYS, http_routes


@pytest.fixture
def guarded():
    with serving_script(ScriptedService(), **KEYS) as address:
        yield address


@pytest.fixture
def open_server():
    with serving_script(ScriptedService()) as address:
        yield address


class TestHostHeaderBypass:
    """A Host header that changes what the path seems to be (CVE-2026-48710, -48746)."""

    @pytest.mark.parametrize("host", ["a?", "a#", "a/", "localhost/health?", "a/v1", "/health"])
    def test_no_host_opens_a_guarded_route(self, guarded, host):
        for method, path in http_routes():
            if path not in OPEN_PATHS:
                answer = exchange(guarded, request(method, path, {"Host": host}))
                assert answer.status in (401, 403), (method, path)

    def test_what_a_proxy_might_add_does_not_either(self, guarded):
        for name in ("X-Forwarded-Host", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"):
            answer = exchange(guarded, request("GET", "/v1/models", {name: "/health"}))
            assert answer.status == 401

    def test_an_absolute_target_does_not_either(self, guarded):
        answer = exchange(guarded, request("GET", "http://localhost/v1/models?x=/health"))
        assert answer.status == 401


class TestDnsRebinding:
    """A page whose name is made to point here (CVE-2024-28224, CVE-2025-66414)."""

    @pytest.mark.parametrize(
        "host",
        ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "a.localhost", "10.0.0.7"],
    )
    def test_names_of_this_machine_and_addresses_pass(self, open_server, host):
        assert exchange(open_server, request("GET", "/health", {"Host": host})).status == 200

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b", "x:y"],
    )
    def test_other_names_do_not(self, open_server, host):
        answer = exchange(open_server, request("GET", "/v1/models", {"Host": host}))
        assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")

    def test_two_host_headers_do_not(self, open_server):
        sent = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        assert exchange(open_server, sent).status == 403

    def test_a_request_without_a_name_does_not(self, open_server):
        answer = exchange(open_server, b"GET /v1/models HTTP/1.1\r\n\r\n")
        assert (answer.status, answer.error["code"]) == (400, "host_missing")

    def test_an_older_one_does(self, open_server):
        assert exchange(open_server, b"GET /health HTTP/1.0\r\n\r\n").status == 200

    def test_chosen_names_pass(self):
        with serving_script(ScriptedService(), allowed_hosts=("gpu.lan",)) as address:
            assert (
                exchange(address, request("GET", "/health", {"Host": "GPU.lan:80"})).status == 200
            )


class TestCrossSiteRequests:
    """Pages of other sites that call a server on the visitor's own machine."""

    def test_other_origins_are_refused(self, open_server):
        for origin in ("https://evil.example", "null", "http://localhost:1"):
            answer = exchange(open_server, post("/v1/chat/completions", CHAT, Origin=origin))
            assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
    def test_so_they_are_over_a_web_socket(self, open_server, origin):
        path = open_server.replace("http", "ws") + "/v1/responses"
        with pytest.raises(InvalidStatus) as refused, web_socket(path, origin=origin):
            pass
        assert refused.value.response.status_code == 403

    def test_the_own_page_may_open_a_web_socket(self, open_server):
        path = open_server.replace("http", "ws") + "/v1/responses"
        with web_socket(path, origin=open_server):
            pass

    def test_the_own_page_may_call(self, open_server):
        headers = {"Host": "localhost:99", "Origin": "http://localhost:99"}
        answer = exchange(open_server, request("GET", "/v1/models", headers))
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_bodies_must_say_that_they_are_json(self, open_server, kind):
        for method, path in http_routes():
            if method == "POST":
                sent = post(path, BODIES.get(path, {}), **{"Content-Type": kind})
                answer = exchange(open_server, sent)
                assert answer.status == 415, path
                assert answer.error["code"] == "unsupported_media_type"

    def test_a_parameter_of_the_type_does_not_matter(self, open_server):
        sent = post(
            "/tokenize", {"prompt": "a"}, **{"Content-Type": "application/json; charset=utf-8"}
        )
        assert exchange(open_server, sent).status == 200

    def test_allowed_origins_get_their_headers_and_preflight(self):
        origins = ("https://ok.example",)
        with serving_script(ScriptedService(), allowed_origins=origins, **KEYS) as address:
            headers = {
                "Origin": "https://ok.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, content-type",
            }
            preflight = exchange(address, request("OPTIONS", "/v1/chat/completions", headers))
            assert preflight.status == 204
            assert (
                preflight.headers["access-control-allow-headers"] == "authorization, content-type"
            )
            answer = exchange(
                address, request("GET", "/v1/models", {"Origin": "https://ok.example"})
            )
            assert answer.status == 401, "CORS is no key"
            assert answer.headers["access-control-allow-origin"] == "https://ok.example"
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"x-request-id", "x-ossia-ignored", "x-ossia-left-out"} <= set(exposed)

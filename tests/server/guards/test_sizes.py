"""Requests that are too much: large, many, slow, or no requests at all."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as web_socket

from ossia.server.app import create_app
from ossia.server.http_protocol import bounded_protocol
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from support.api_client import serving_script
from support.http_server import serving
from support.raw_http import connect, exchange, post, read_answer, request
from support.scripted_service import ScriptedService
from support.security import BODIES, CHAT
from support.serve_process import serving as process
from support.waiting import wait_until


@pytest.fixture
def open_server():
    with serving_script(ScriptedService()) as address:
        yield address


class TestUnboundedSizes:
    """Memory taken before a limit is looked at (CVE-2026-34756, CVE-2025-48956)."""

    def test_a_body_of_100_mb_is_refused_before_it_is_read(self, open_server):
        length = {"Content-Length": str(100 * 2**20)}
        sent = request(
            "POST", "/v1/chat/completions", {"Content-Type": "application/json", **length}
        )
        begun = time.monotonic()
        answer = exchange(open_server, sent + b"x" * 1000)
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert time.monotonic() - begun < 5

    def test_one_in_chunks_too(self):
        with serving_script(ScriptedService(), max_body_bytes=100_000) as address:
            chunk = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
            head = request(
                "POST",
                "/v1/chat/completions",
                {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
            )
            assert exchange(address, head + chunk * 50).status == 413

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param(b"X-Long: " + b"a" * 300_000 + b"\r\n", id="one-header"),
            pytest.param(b"".join(b"X-%d: a\r\n" % i for i in range(30_000)), id="many-headers"),
            pytest.param(b"X-Endless: " + b"a" * 3_000_000, id="without-an-end"),
        ],
    )
    def test_floods_of_headers_are_refused(self, open_server, headers):
        sent = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + headers
        assert exchange(open_server, sent + b"\r\n").status in (0, 431)
        assert exchange(open_server, request("GET", "/health")).status == 200

    def test_a_path_without_an_end_is_refused(self, open_server):
        assert exchange(open_server, request("GET", "/" + "a" * 100_000)).status == 431


class TestDecompressionBombs:
    """Bodies that become a thousand times larger."""

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
    def test_compressed_bodies_are_refused(self, open_server, encoding):
        bomb = gzip.compress(bytes(10**6))
        for path, body in BODIES.items():
            sent = post(path, bomb, **{"Content-Encoding": encoding})
            assert exchange(open_server, sent).status == 415, path
            assert exchange(open_server, post(path, body)).status == 200

    def test_messages_of_a_web_socket_are_measured_unpacked(self, tmp_path):
        settings = {"port": 0, "max_body_bytes": 100_000}
        command = [sys.executable, "-m", "support.scripted_server", json.dumps(settings)]
        with process(command, tmp_path / "log", until="http://") as address:
            path = address.replace("http", "ws") + "/v1/responses"
            with web_socket(path, compression="deflate") as socket:
                socket.send("[" + " " * 10**7 + "]")  # ten kilobytes on the wire
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
            assert exchange(address, request("GET", "/health")).status == 200


class TestUnboundedChoices:
    """Numbers that make much out of a small request (CVE-2026-34756, CVE-2024-8939)."""

    @pytest.mark.parametrize(
        ("path", "field", "value"),
        [
            ("/v1/chat/completions", "n", 17),
            ("/v1/chat/completions", "n", 2**31),
            ("/v1/chat/completions", "top_logprobs", 21),
            ("/v1/chat/completions", "max_tokens", 0),
            ("/v1/chat/completions", "stop", ["x"] * 10_000),
            ("/v1/completions", "n", 10**9),
            ("/v1/completions", "best_of", 10**9),
            ("/v1/completions", "logprobs", 10**6),
            ("/v1/completions", "prompt", ["x"] * 10_000),
            ("/v1/completions", "prompt", [2**40]),
            ("/v1/completions", "prompt", [-1]),
            ("/v1/responses", "top_logprobs", 10**6),
            ("/v1/responses", "max_output_tokens", -1),
            ("/v1/messages", "max_tokens", -1),
        ],
    )
    def test_they_are_refused_before_the_model_hears_of_them(self, path, field, value):
        service = ScriptedService()
        with serving_script(service) as address:
            body = {**BODIES[path], field: value}
            if field == "top_logprobs" and path == "/v1/chat/completions":
                body["logprobs"] = True
            answer = exchange(address, post(path, body))
            assert answer.status == 400, answer.body
            # Anthropic's errors have no `param`.
            assert field in (answer.error.get("param") or answer.error["message"])
        assert (service.questions, service.requests) == ([], [])


class TestHostileJson:
    """Bodies that are no JSON, or too much of it."""

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"model": "\xff\xfe"}', id="utf-8"),
            pytest.param(b"{" * 10_000, id="open"),
            pytest.param(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", id="10000-deep"),
            pytest.param(b'{"messages": [], "temperature": 1e999}', id="infinity"),
            pytest.param(b'{"model": "\\ud800", "messages": []}', id="surrogate"),
            pytest.param(b"null", id="null"),
        ],
    )
    @pytest.mark.parametrize("path", [*BODIES, "/tokenize", "/render", "/v1/responses/compact"])
    def test_a_clear_refusal_and_the_next_request_works(self, open_server, path, body):
        answer = exchange(open_server, post(path, body))
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"
        assert exchange(open_server, post("/v1/chat/completions", CHAT)).status == 200

    @pytest.mark.parametrize(
        "value", [-1, 2**31, 2**63, -(2**63), 2**64, 1e308, -0.5, True, "1", []]
    )
    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("/v1/chat/completions", "n max_tokens seed top_k top_logprobs min_tokens priority"),
            (
                "/v1/responses",
                "max_output_tokens seed top_k top_logprobs temperature max_tool_calls",
            ),
            ("/v1/completions", "n best_of max_tokens logprobs seed echo prompt_logprobs"),
            ("/v1/messages", "max_tokens temperature top_p top_k"),
        ],
    )
    def test_no_number_is_a_fault_of_the_server(self, open_server, path, names, value):
        for name in names.split():
            answer = exchange(open_server, post(path, {**BODIES[path], name: value}))
            assert answer.status in (200, 400), (name, answer.body)


class TestSlowAndBrokenClients:
    """Connections that are held open, or end too early."""

    def test_headers_must_arrive_in_time(self):
        app = create_app(ServerState(settings=ServerSettings(), service=ScriptedService()))
        with serving(app, bounded_protocol(4096, 0.3)) as address, connect(address) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: ")
            assert read_answer(connection).status == 408
            with connect(address) as silent:
                assert read_answer(silent).status == 0, "closed without a word"

    def test_bodies_must_arrive_in_time(self):
        with (
            serving_script(ScriptedService(), body_timeout=0.3) as address,
            connect(address) as connection,
        ):
            connection.sendall(post("/tokenize", {"prompt": "a"})[:-5])
            assert read_answer(connection).status == 408

    def test_a_body_that_is_cut_off_disturbs_nobody(self, open_server):
        exchange(open_server, post("/v1/chat/completions", CHAT)[:-5], half_close=True)
        assert exchange(open_server, post("/v1/chat/completions", CHAT)).status == 200

    @pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"\0" * 100])
    def test_what_is_no_http_is_refused_in_our_shape(self, open_server, sent):
        answer = exchange(open_server, sent + b"\r\n\r\n")
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"


class TestReleaseOfResources:
    """Connections that are dropped and leave something behind (CVE-2026-9540)."""

    def test_dropped_clients_leave_no_request_and_no_file_behind(self):
        service = ScriptedService(stalls_after=4)
        with serving_script(service) as address:
            exchange(address, request("GET", "/health"))
            before = len(os.listdir("/proc/self/fd"))
            connections = [connect(address) for _ in range(60)]
            for number, connection in enumerate(connections):
                body = {**CHAT, "stream": number % 2 == 0}
                connection.sendall(post("/v1/chat/completions", body))
            wait_until(lambda: service.running == 60)
            for connection in connections:
                connection.close()
            wait_until(lambda: service.running == 0)
            wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert service.closed_early == 60

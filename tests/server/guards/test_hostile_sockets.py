"""What a hostile or broken client can do on a socket: it is refused, and the next request works."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from support.raw_http import RawAnswer, connect, exchange, post, read_answer, request
from support.scripted_engine import TOKENIZER
from support.waiting import wait_until

_TESTS = Path(__file__).parents[2]
_SETTINGS = {
    "header_timeout": 0.7,
    "body_timeout": 0.7,
    "write_timeout": 0.7,
    "keep_alive": 0.3,
    "script": {
        "opening": TOKENIZER.encode_with_special("<|channel|>final<|message|>"),
        "scripts": [TOKENIZER.encode(" word")],
        "repeat": 100_000,
        "rate": 5_000.0,
    },
}
"""Answers go on for twenty seconds, unless they are limited or cut off."""

_MESSAGES = [{"role": "user", "content": "Hi"}]
_TEXT = {"prompt": "One two three four five six seven.", "max_tokens": 4}
_LONG = {**_TEXT, "max_tokens": 100_000}
_POSTS = {
    "/v1/chat/completions": {"messages": _MESSAGES, "max_tokens": 4},
    "/v1/completions": _TEXT,
    "/v1/responses": {"input": "Hi", "max_output_tokens": 4},
    "/v1/responses/input_tokens": {"input": "Hi"},
    "/v1/conversations": {},
    "/v1/messages": {"messages": _MESSAGES, "max_tokens": 4},
    "/v1/messages/count_tokens": {"messages": _MESSAGES},
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [1]},
    "/render": {"messages": _MESSAGES},
}
_JSON = {"Content-Type": "application/json"}
_STOPS = {
    "/v1/chat/completions": {"stop": "word"},
    "/v1/completions": {"stop": "word"},
    "/v1/responses": {"stop": "word"},
    "/v1/messages": {"stop_sequences": ["word"]},
}
"""What ends an answer at once."""
_SPACES = TOKENIZER.encode(" " * 80)
_RUNNING = re.compile(rb"^ossia:num_requests_(?:running|waiting) (\S+)$", re.MULTILINE)


class Server:
    """A server as a process; what it still holds can be asked."""

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self._pid = pid

    @property
    def num_files(self) -> int:
        return len(os.listdir(f"/proc/{self._pid}/fd"))

    def settled_files(self) -> int:
        """`num_files` once it has been the same for a while: closed connections are gone."""
        seen: list[int] = []

        def is_still() -> bool:
            seen.append(self.num_files)
            return len(seen) >= 10 and len(set(seen[-10:])) == 1

        wait_until(is_still)
        return seen[-1]

    @property
    def is_idle(self) -> bool:
        metrics = exchange(self.address, request("GET", "/metrics"))
        return all(float(number) == 0 for number in _RUNNING.findall(metrics.body))

    def check(self) -> None:
        """An ordinary request works, and nothing of another one is left."""
        answer = exchange(self.address, post("/v1/completions", _TEXT))
        assert (answer.status, len(json.loads(answer.body)["choices"])) == (200, 1)
        wait_until(lambda: self.is_idle)


@contextmanager
def _started() -> Iterator[Server]:
    path = os.pathsep.join([str(_TESTS), *sys.path])
    command = [sys.executable, "-m", "support.engine_server", json.dumps(_SETTINGS)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert process.stdout.readline().startswith("The model is ready")
        yield Server(address, process.pid)
        process.terminate()
        assert process.wait(timeout=20) == 0, "it ends as if nothing had been"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with _started() as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    yield shared
    shared.check()


def _refused(answer: RawAnswer, *statuses: int) -> None:
    """It was told clearly what is wrong."""
    assert answer.status in statuses, answer
    assert answer.error["message"]


def _head(path: str, **headers: str) -> bytes:
    return request("POST", path, {**_JSON, **{k.replace("_", "-"): v for k, v in headers.items()}})


def _drip(connection: socket.socket, piece: bytes, seconds: float) -> RawAnswer:
    """Send a piece five times a second until the server has enough; what it says."""
    end = time.monotonic() + seconds
    connection.settimeout(0.2)
    got = b""
    while time.monotonic() < end:
        try:
            connection.sendall(piece)
            while more := connection.recv(65536):
                got += more
            break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        pytest.fail("the connection is held open")
    return RawAnswer(int(got.split()[1]) if got else 0, {}, got.rpartition(b"\r\n\r\n")[2])


class TestMalformedText:
    """Bytes that are no UTF-8, or no text at all."""

    @pytest.mark.parametrize("part", [b"\xff", b"%ff", b"%c0%af", b"%ed%a0%80", b"%00", b"%"])
    @pytest.mark.parametrize(
        "target",
        [
            b"/v1/models/*",
            b"/v1/responses/*",
            b"/v1/responses/*/input_items",
            b"/v1/conversations/*/items/*",
            b"/v1/chat/completions/*",
            b"/v1/chat/completions?after=*",
            b"/v1/chat/completions?metadata[*]=*&model=*",
            b"/*?*",
        ],
    )
    def test_in_the_target(self, server, target, part):
        sent = b"GET " + target.replace(b"*", part) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = exchange(server.address, sent)
        if answer.status != 200:  # a filter of a list may match nothing
            _refused(answer, 400, 404)

    @pytest.mark.parametrize("name", ["Host", "Origin", "X-Request-Id", "Authorization", "X-Other"])
    def test_in_a_header(self, server, name):
        answer = exchange(server.address, request("GET", "/v1/models", {name: "\xff\xfe\xed\xa0"}))
        assert answer.status in (200, 403)
        assert answer.headers["x-request-id"].isascii()

    @pytest.mark.parametrize("path", _POSTS)
    @pytest.mark.parametrize(
        "text", [b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\udc00\\ud800"']
    )
    def test_in_a_body(self, server, path, text):
        sent = post(path, b'{"model": ' + text + b", " + json.dumps(_POSTS[path]).encode()[1:])
        _refused(exchange(server.address, sent), 400)

    @pytest.mark.parametrize("path", _POSTS)
    def test_zero_bytes_are_text(self, server, path):
        body = json.dumps(_POSTS[path]).replace("Hi", "\\u0000")
        assert exchange(server.address, post(path, body.encode())).status == 200


@pytest.fixture(scope="module")
def numeric(shared: Server) -> list[tuple[str, str]]:
    """Paths, and the fields of their bodies that take numbers."""
    told = json.loads(exchange(shared.address, request("GET", "/openapi.json")).body)
    schemas = told["components"]["schemas"]
    found = []
    for path in _POSTS:
        content = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for ref in content["schema"].get("anyOf", [content["schema"]]):
            fields = schemas[ref["$ref"].rpartition("/")[2]]["properties"]
            found += [(path, name) for name, field in fields.items() if _takes_number(field)]
    assert len(found) > 50
    return found


class TestNumbers:
    """Numbers that no field means, in every field that takes one."""

    @pytest.mark.parametrize(
        "number",
        [b"1e400", b"-1e400", b"NaN", b"Infinity", b"1e308", b"-0", b"-0.0", b"1e-320",
         b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809",
         b"18446744073709551616", b"1" + b"0" * 400],
    )  # fmt: skip
    def test_none_is_a_fault_of_the_server(self, server, numeric, number):
        with closing(connect(server.address)) as connection:
            for path, name in numeric:
                body = json.dumps({**_POSTS[path], **_STOPS.get(path, {}), name: 0}).replace(
                    f'"{name}": 0', f'"{name}": #'
                )
                connection.sendall(post(path, body.encode().replace(b"#", number)))
                answer = read_answer(connection)
                assert answer.status in (200, 400), (path, name, answer)
                if answer.status == 400:
                    assert answer.error["message"], (path, name)


def _takes_number(field: object) -> bool:
    if isinstance(field, dict):
        return field.get("type") in ("integer", "number") or any(
            _takes_number(one) for one in field.get("anyOf", ())
        )
    return False


class TestHalfClosed:
    """Clients that say that they send nothing more: an answer or an end, and nothing runs on."""

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 1.0])
    @pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/chat/completions"])
    def test_at_any_point_of_a_request(self, server, path, share, stream):
        limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
        sent = post(path, {**_POSTS[path], limit: 100_000, "stream": stream})
        got = b""
        with closing(connect(server.address)) as connection:
            connection.sendall(sent[: round(len(sent) * share)])
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while piece := connection.recv(65536):
                    got += piece
        assert not got.endswith(b"0\r\n\r\n"), "it was cut off, not written to its end"
        assert got == b"" or got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))

    def test_with_another_request_waiting_behind(self, server):
        sent = post("/v1/completions", _LONG) + post("/v1/completions", _LONG)
        with closing(connect(server.address)) as connection:
            connection.sendall(sent)
            wait_until(lambda: not server.is_idle)


class TestSlowReaders:
    """Clients that read nothing of what they have asked for."""

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/responses", {"input": "Hi", "top_logprobs": 20}),
            ("/v1/chat/completions", {"messages": _MESSAGES, "logprobs": True, "top_logprobs": 20}),
        ],
    )
    def test_a_stream_is_dropped_and_others_go_on(self, server, path, body):
        before = server.settled_files()
        sent = post(path, {**body, "stream": True})
        with ExitStack() as connections:
            for _ in range(2):
                connections.enter_context(closing(self._unread(server, sent)))
            wait_until(lambda: not server.is_idle)
            assert exchange(server.address, post("/v1/completions", _TEXT)).status == 200
            wait_until(lambda: server.is_idle, seconds=30)
            wait_until(lambda: server.num_files <= before, seconds=60)

    def test_an_answer_that_nobody_reads_is_thrown_away(self, server):
        before = server.settled_files()
        sent = post("/detokenize", {"tokens": _SPACES * 150_000})
        with closing(self._unread(server, sent)):
            wait_until(lambda: server.num_files > before)
            wait_until(lambda: server.num_files <= before, seconds=60)

    @staticmethod
    def _unread(server, sent: bytes) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(server.address.rpartition(":")[2])))
        connection.sendall(sent)
        return connection


class TestSlowWriters:
    """Clients that send, but never come to an end."""

    def test_headers(self, server):
        with closing(connect(server.address)) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
            assert _drip(connection, b"a", 6).status == 408

    def test_empty_lines_before_a_second_request(self, server):
        with closing(connect(server.address)) as connection:
            connection.sendall(request("GET", "/health"))
            assert read_answer(connection).status == 200
            assert _drip(connection, b"\r\n", 6).status in (0, 408)

    def test_one_empty_line_and_silence(self, server):
        with closing(connect(server.address)) as connection:
            connection.sendall(request("GET", "/health"))
            assert read_answer(connection).status == 200
            connection.sendall(b"\r\n")
            connection.settimeout(6)
            assert read_answer(connection).status in (0, 408)

    @pytest.mark.parametrize(("path", "status"), [("/tokenize", 408), ("/nothing", 404)])
    def test_a_body_that_is_waited_for_or_not(self, server, path, status):
        for head, piece in (
            (_head(path, Content_Length="100000"), b" "),
            (_head(path, Transfer_Encoding="chunked"), b"1\r\n \r\n"),
        ):
            with closing(connect(server.address)) as connection:
                connection.sendall(head)
                assert _drip(connection, piece, 6).status == status


class TestSizes:
    """More than can be taken."""

    @pytest.mark.parametrize("depth", [10_000, 100_000])
    @pytest.mark.parametrize("path", _POSTS)
    def test_deep_json(self, server, path, depth):
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            body = b'{"input": ' + opened * depth + b"1" + closed * depth + b"}"
            _refused(exchange(server.address, post(path, body)), 400)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"prompt": [' + b"true," * 2_000_000 + b"1]}", id="values"),
            pytest.param(b'{"prompt": [' + b"[]," * 2_000_000 + b"1]}", id="lists"),
            pytest.param(b'{"prompt": [' + b"1," * 4_000_000 + b"1]}", id="ids"),
        ],
    )
    @pytest.mark.timeout(30)
    def test_broad_json_does_not_hold_others_up(self, server, body):
        """Each member was told of once: that took minutes and gigabytes."""
        _refused(exchange(server.address, post("/v1/completions", body)), 400)

    def test_100_megabytes_with_their_length(self, server):
        with closing(connect(server.address)) as connection:
            connection.sendall(_head("/v1/responses", Content_Length=str(100 * 2**20)))
            for _ in range(100):
                connection.sendall(b" " * 2**20)
            _refused(read_answer(connection), 413)

    def test_100_megabytes_without(self, server):
        chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
        with closing(connect(server.address)) as connection:
            connection.sendall(_head("/v1/responses", Transfer_Encoding="chunked"))
            for _ in range(100):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
            _refused(read_answer(connection), 413)
            connection.sendall(request("GET", "/health"))
            assert read_answer(connection).status == 200, "and it is still good for another"

    @pytest.mark.parametrize(
        "flood",
        [
            pytest.param(b"2\r\n{}\r\n0\r\n" + b"X-A: b\r\n" * 100_000, id="trailers"),
            pytest.param(b"2\r\n{}\r\n0\r\nX-A: " + b"b" * 2_000_000, id="long-trailer"),
            pytest.param(b"2;" + b"a" * 2_000_000, id="chunk-extension"),
            pytest.param(b"0" * 2_000_000, id="chunk-size"),
        ],
    )
    def test_floods_behind_the_headers(self, server, flood):
        sent = _head("/v1/conversations", Transfer_Encoding="chunked") + flood
        assert exchange(server.address, sent).status in (0, 200, 400, 431)

    def test_trailers_are_no_headers(self, server):
        body = b"2\r\n{}\r\n0\r\nX-Request-Id: smuggled\r\n\r\n"
        sent = _head("/v1/conversations", Transfer_Encoding="chunked") + body
        answer = exchange(server.address, sent)
        assert answer.status == 200
        assert answer.headers["x-request-id"] != "smuggled"


class TestFraming:
    """Where one request ends and the next begins."""

    @pytest.mark.parametrize(
        "headers",
        [
            b"Content-Length: -1",
            b"Content-Length: x",
            b"Content-Length: 1e3",
            b"Content-Length: 99999999999999999999999",
            b"Content-Length: 2\r\nContent-Length: 3",
            b"Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 2",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: xchunked\r\nContent-Length: 2",
        ],
    )
    def test_lengths_that_contradict_or_say_nothing(self, server, headers):
        head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        _refused(exchange(server.address, head + headers + b"\r\n\r\n{}"), 400)

    def test_a_length_that_is_too_short(self, server):
        sent = _head("/tokenize", Content_Length="15") + b'{"prompt": "a"}{"prompt": "b"}'
        with closing(connect(server.address)) as connection:
            connection.sendall(sent)
            first = read_answer(connection)
            assert first.status == 200
            with suppress(ConnectionError):
                assert connection.recv(10) in (b"", b"HTTP/1.1 4")

    @pytest.mark.parametrize("size", [b"-1", b"x", b"0x2", b"fffffffffffffffff"])
    def test_chunks_of_no_size(self, server, size):
        sent = _head("/tokenize", Transfer_Encoding="chunked") + size + b"\r\n{}\r\n0\r\n\r\n"
        _refused(exchange(server.address, sent), 400)

    def test_requests_one_behind_the_other_are_answered_in_order(self, server):
        texts = ("a", "b c", "d e f")
        with closing(connect(server.address)) as connection:
            connection.sendall(b"".join(post("/tokenize", {"prompt": text}) for text in texts))
            got = b""
            while got.count(b'"tokens"') < len(texts):
                got += connection.recv(65536)
        counts = [int(count) for count in re.findall(rb'"count":(\d+)', got)]
        assert counts == [1, 2, 3]

    def test_countless_requests_one_behind_the_other(self, server):
        sent = post("/v1/completions", _TEXT) + request("GET", "/health") * 20_000
        got = b""
        with closing(connect(server.address)) as connection, suppress(ConnectionError):
            connection.sendall(sent)
            while piece := connection.recv(65536):
                got += piece
        assert got.startswith(b"HTTP/1.1 200"), "the first is answered"
        assert got.count(b"HTTP/1.1 ") < 100, "and then the connection ends"

    @pytest.mark.parametrize(
        "sent",
        [
            b"GET /health\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: \0\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX A: b\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
            b"G\0T /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
        ],
    )
    def test_what_is_no_request(self, server, sent):
        _refused(exchange(server.address, sent), 400, 404, 405)


class TestWebSockets:
    """The same over a WebSocket."""

    _UPGRADE = request(
        "GET",
        "/v1/responses",
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    )

    def _open(self, server) -> socket.socket:
        connection = connect(server.address)
        connection.sendall(self._UPGRADE)
        assert b" 101 " in connection.recv(4096)
        return connection

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            pytest.param(b"\x81\x82\0\0\0\0\xff\xfe", 1007, id="utf-8"),
            pytest.param(b"\x83\x80\0\0\0\0", 1002, id="opcode"),
            pytest.param(b"\x81\x01a", 1002, id="unmasked"),
            pytest.param(b"\x81\xff" + b"\x7f" + b"\xff" * 7 + bytes(4), 1009, id="length"),
            pytest.param(b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 30_000, 1009, id="pieces"),
        ],
    )
    def test_frames_that_are_none(self, server, frame, code):
        with closing(self._open(server)) as connection:
            with suppress(ConnectionError):
                connection.sendall(frame)
            assert _close_code(connection) == code

    def test_messages_that_are_none_are_told_and_the_connection_goes_on(self, server):
        with closing(self._open(server)) as connection:
            for text in (b"", b"{", b"[]", b'{"type": "x"}', b'{"type": "response.create"}'):
                connection.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
                assert b'"type":"error"' in connection.recv(65536)

    def test_a_client_that_reads_nothing_is_dropped(self, server):
        before = server.settled_files()
        body = {"type": "response.create", "input": "Hi " * 30, "top_logprobs": 20}
        text = json.dumps(body).encode()
        frame = b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text
        with closing(self._open(server)) as connection:
            connection.sendall(frame)
            wait_until(lambda: server.num_files <= before, seconds=60)


def _close_code(connection: socket.socket) -> int:
    got = b""
    with suppress(ConnectionError):
        while piece := connection.recv(4096):
            got += piece
    assert got[:1] == b"\x88", got
    return int.from_bytes(got[2:4], "big")

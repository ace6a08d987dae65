"""How open answers end with their server, and what its log says of them: nothing that looks like a fault."""

from __future__ import annotations

import json
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from support.serve_process import ServerProcess, started
from support.waiting import wait_until

_HI = [{"role": "user", "content": "Hi"}]
STREAMS = {
    "/v1/chat/completions": {"messages": _HI},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 100_000},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": _HI, "max_tokens": 100_000},
}


@contextmanager
def _server(folder: Path, drain_timeout: float) -> Iterator[ServerProcess]:
    """A server whose answers take for ever."""
    settings = {
        "drain_timeout": drain_timeout,
        "script": {"scripts": [[13]], "repeat": 100_000, "rate": 50.0, "ignore_stop": True},
    }
    command = [sys.executable, "-m", "support.engine_server", json.dumps(settings)]
    with started(command, folder / "log") as server:
        yield server


@contextmanager
def _streams(address: str) -> Iterator[dict[str, Iterator[bytes]]]:
    """A stream of every API, each of which has begun."""
    with ExitStack() as stack:
        client = stack.enter_context(httpx2.Client(base_url=address, timeout=30))
        pieces = {}
        for path, body in STREAMS.items():
            body = {"model": "gpt-oss-test", "stream": True, **body}
            answer = stack.enter_context(client.stream("POST", path, json=body))
            assert answer.status_code == 200
            pieces[path] = answer.iter_bytes()
            next(pieces[path])
        yield pieces


@contextmanager
def _socket(address: str) -> Iterator[ClientConnection]:
    with connect(f"ws{address.removeprefix('http')}/v1/responses") as socket:
        socket.send(json.dumps({"type": "response.create", "model": "gpt-oss-test", "input": "Hi"}))
        socket.recv(timeout=30)
        yield socket


@pytest.mark.timeout(120)
def test_what_takes_too_long_is_told_so_without_a_traceback(tmp_path):
    with _server(tmp_path, 0.3) as server:
        with _streams(server.address) as streams, _socket(server.address):
            server.process.send_signal(signal.SIGTERM)
            for path, pieces in streams.items():
                assert b"the server ends" in b"".join(pieces), path
        assert server.process.wait(timeout=30) == 0
        assert server.log.read_text() == ""


@pytest.mark.timeout(120)
def test_a_second_interrupt_breaks_off_without_a_traceback(tmp_path):
    with _server(tmp_path, 60) as server:
        with _streams(server.address) as streams, _socket(server.address) as socket:
            server.process.send_signal(signal.SIGINT)
            wait_until(lambda: httpx2.get(f"{server.address}/ready").status_code == 503)
            server.process.send_signal(signal.SIGINT)
            for pieces in streams.values():
                with pytest.raises(httpx2.RemoteProtocolError):
                    b"".join(pieces)
            with pytest.raises(ConnectionClosed, match="service restart"):
                deque(socket, maxlen=0)
        assert server.process.wait(timeout=30) == 1
        assert server.log.read_text() == ""

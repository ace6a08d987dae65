"""A server as a process: how it starts, drains, and ends."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ossia.errors import ServerError
from ossia.server.listening import listen, url_of
from ossia.server.settings import ServerSettings
from support.certificates import self_signed

TESTS = Path(__file__).parents[1]


@contextmanager
def _server(**settings):
    """A process that serves a script, and its address."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    command = [sys.executable, "-m", "support.scripted_server", json.dumps({"port": 0, **settings})]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _chat(address: str, pause: int, context: ssl.SSLContext | None = None):
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "seed": pause}
    headers = {"Content-Type": "application/json"}
    sent = Request(f"{address}/v1/chat/completions", json.dumps(body).encode(), headers)
    return urlopen(sent, timeout=20, context=context)


def _status(address: str, path: str) -> int:
    try:
        with urlopen(address + path, timeout=5) as answer:
            return answer.status
    except HTTPError as error:
        with error:
            return error.status if error.headers["retry-after"] else 0


def test_a_signal_lets_running_requests_finish_and_takes_no_new_ones():
    with _server() as (process, address):
        with _chat(address, 10) as stream:
            stream.readline()
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert _status(address, "/health") == 200
            assert _status(address, "/ready") == 503
            with pytest.raises(HTTPError) as refusal:
                _chat(address, 0)
            with refusal.value:
                assert refusal.value.status == 503
            rest = stream.read().decode()
        assert '"finish_reason":"length"' in rest
        assert rest.endswith("data: [DONE]\n\n")
        assert process.wait(timeout=10) == 0


def test_what_does_not_finish_in_time_is_told_so():
    with _server(drain_timeout=0.3) as (process, address):
        with _chat(address, 200) as stream:
            stream.readline()
            process.send_signal(signal.SIGINT)
            rest = stream.read().decode()
        assert '"code":"server_error"' in rest
        assert rest.endswith("data: [DONE]\n\n")
        assert process.wait(timeout=10) == 0


def test_a_second_interrupt_does_not_wait():
    with _server(drain_timeout=60) as (process, address), _chat(address, 1000) as stream:
        stream.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def test_https(tmp_path):
    certificate, key = self_signed(tmp_path)
    with _server(tls_certificate=str(certificate), tls_key=str(key)) as (_, address):
        assert address.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(certificate))
        with _chat(address, 0, context) as stream:
            assert stream.read().endswith(b"data: [DONE]\n\n")


def test_addresses_that_cannot_be_had():
    with listen(ServerSettings(port=0)) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, ServerSettings(port=0)) == f"http://127.0.0.1:{port}"
        with pytest.raises(ServerError, match="in use"):
            listen(ServerSettings(port=port))
    with pytest.raises(ServerError, match="cannot be listened on"):
        listen(ServerSettings(host="192.0.2.1", port=0))

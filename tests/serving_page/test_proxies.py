"""The page's proxy settings, with the real proxies where they are installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import connect as web_socket

from guides.running import ROOT, run_to_the_end
from serving_page.table import ADDRESS, source
from support.api_client import MODEL, serving_script
from support.raw_http import connect, exchange, post, request
from support.scripted_service import ScriptedService
from support.waiting import wait_until

NAME = "gpu.example.org"
ASKED = {"model": MODEL, "input": "Hi", "stream": True}
# Administrators' programs are not on everybody's path.
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def _running(command: Sequence[str], port: int, folder: Path) -> Iterator[str]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)}
        )
        try:
            wait_until(lambda: _listens(port) or process.poll() is not None)
            assert process.poll() is None, (folder / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _read_until(connection: socket.socket, wanted: bytes) -> None:
    got = b""
    while wanted not in got:
        piece = connection.recv(65536)
        assert piece, got
        got += piece


@contextmanager
def _nginx(server: str, folder: Path) -> Iterator[str]:
    program = shutil.which("nginx", path=PATH)
    if program is None:
        pytest.skip("no nginx here")
    port = _free_port()
    text = source("nginx").replace(ADDRESS, server)
    run_to_the_end(source("make a certificate"), folder)
    for found, put in (
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port};\n    listen 127.0.0.1:{_free_port()} ssl;"),
        (r"ssl_certificate \S+;", f"ssl_certificate {folder}/server.pem;"),
        (r"ssl_certificate_key \S+;", f"ssl_certificate_key {folder}/server.key;"),
    ):
        text, count = re.subn(found, put, text)
        assert count == 1, found
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid;\nerror_log stderr;\ndaemon off;\nmaster_process off;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}{text}\n}}\n"
    )
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with _running(command, port, folder) as address:
        yield address


@contextmanager
def _caddy(server: str, folder: Path) -> Iterator[str]:
    program = shutil.which("caddy", path=PATH)
    if program is None:
        pytest.skip("no caddy here")
    port = _free_port()
    text = source("caddy").replace(urlsplit(ADDRESS).netloc, urlsplit(server).netloc)
    text = text.replace(f"{NAME} {{", f"http://{NAME}:{port} {{")
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{text}\n")
    command = [program, "run", "--config", str(folder / "Caddyfile")]
    with _running(command, port, folder) as address:
        yield address


@pytest.fixture(params=[_nginx, _caddy], ids=["nginx", "caddy"])
def proxied(request, tmp_path):
    """A proxy before a scripted model that stalls in the middle, and the model."""
    service = ScriptedService(stalls_after=13)
    with (
        serving_script(service, allowed_hosts=(NAME,)) as server,
        request.param(server, tmp_path) as address,
    ):
        yield address, service


def test_events_come_as_they_are_made(proxied):
    address, service = proxied
    with connect(address) as connection:
        connection.sendall(post("/v1/responses", ASKED, Host=NAME))
        # The model stalls behind this, and goes on only when it has come.
        _read_until(connection, b"output_text.delta")
        service.go_on.set()
        _read_until(connection, b"[DONE]")


def test_the_name_is_the_one_that_the_server_was_told(proxied):
    address, _ = proxied
    assert exchange(address, request("GET", "/health", {"Host": NAME})).status == 200


def test_a_web_socket_goes_through(proxied):
    address, service = proxied
    service.go_on.set()
    port = urlsplit(address).port
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        web_socket(f"ws://{NAME}:{port}/v1/responses", sock=connection) as session,
    ):
        session.send(json.dumps({"type": "response.create", **ASKED}))
        kinds = [json.loads(session.recv(timeout=20))["type"]]
        while not kinds[-1].startswith(("response.completed", "error")):
            kinds.append(json.loads(session.recv(timeout=20))["type"])
    assert kinds[-1] == "response.completed"


class TestWhatTheSettingsSay:
    """Without the programs: that nothing which matters has been lost."""

    def test_nginx(self):
        text = source("nginx")
        for setting in (
            "proxy_buffering off;", "proxy_http_version 1.1;", "proxy_set_header Host $host;",
            "proxy_set_header Upgrade $http_upgrade;", "proxy_read_timeout 3600s;",
        ):  # fmt: skip
            assert setting in text
        assert text.count("{") == text.count("}")

    def test_caddy(self):
        assert "reverse_proxy 127.0.0.1:8000" in source("caddy")

    def test_the_page_says_which_name_to_allow(self):
        assert f"--allow-host {NAME}" in (ROOT / "docs" / "serving.md").read_text()

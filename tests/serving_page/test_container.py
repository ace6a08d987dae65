"""The page's container, built and run by its own commands.

Slow, and only where there is Podman. What a machine needs beside the page's words (mounts of its
certificates, another runtime, a base image from elsewhere) is taken from two variables:

    OSSIA_TEST_PODMAN_BUILD="--isolation chroot --network host -v /etc/ssl/certs:/etc/ssl/certs:ro"
    OSSIA_TEST_PODMAN="--runtime runc"
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from guides.running import ROOT
from serving_page.table import source
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("podman") is None, reason="no podman here"),
]

_NAME = "ossia-test"
_QUESTION = [{"role": "user", "content": "How many rs are in the word strawberry?"}]


def _words(variable: str) -> str:
    return os.environ.get(variable, "")


def _shell(command: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-euc", command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _commands(folder: Path, port: int) -> list[str]:
    """The page's, with names and a port of the test's own, the demo model, and no GPU."""
    commands = source("podman")
    for name in ("ossia-keys", "ossia-state", "ossia-cache"):
        commands = re.sub(rf"(?<![\w/]){name}\b", f"{name}-test", commands)
    commands = re.sub(r"-t ossia\b", f"-t {_NAME}", commands)
    commands = commands.replace(" ossia openai/gpt-oss-20b", f" {_NAME} demo")
    commands = commands.replace(" --device nvidia.com/gpu=all", f" --name {_NAME}")
    commands = commands.replace("127.0.0.1:8000:", f"127.0.0.1:{port}:")
    commands = commands.replace("podman build", f"podman build {_words('OSSIA_TEST_PODMAN_BUILD')}")
    commands = commands.replace("api-keys", shlex.quote(str(folder / "api-keys")))
    return commands.replace("podman run", f"podman {_words('OSSIA_TEST_PODMAN')} run").splitlines()


def _clean() -> None:
    for command in (
        "stop",
        "secret rm ossia-keys-test",
        "volume rm ossia-state-test ossia-cache-test",
    ):
        words = ["podman", *command.split(), *([_NAME] if command == "stop" else [])]
        subprocess.run(words, capture_output=True, check=False)


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """Of a server in a container that the page's commands have built and started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    _clean()
    *before, run = _commands(tmp_path, port)
    for command in before:
        _shell(command, ROOT)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(shlex.split(run), stdout=log, stderr=log)
        try:
            wait_until(
                lambda: process.poll() is not None or "is ready" in (tmp_path / "log").read_text(),
                120,
            )
            assert process.poll() is None, (tmp_path / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            _clean()
            process.wait(timeout=60)


def test_it_answers_those_with_the_key_as_an_ordinary_user(address, tmp_path):
    key = (tmp_path / "api-keys").read_text().strip()
    with httpx2.Client(base_url=address, timeout=60) as client:
        assert client.get("/health").json()["status"] == "ready"
        body = {"model": "demo", "messages": _QUESTION, "temperature": 0}
        assert client.post("/v1/chat/completions", json=body).status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        answer = client.post("/v1/chat/completions", json=body).json()
        assert "3" in answer["choices"][0]["message"]["content"]
        stored = client.post("/v1/responses", json={"model": "demo", "input": "Hi"}).json()
        assert client.get(f"/v1/responses/{stored['id']}").json()["id"] == stored["id"]
    podman = f"podman {_words('OSSIA_TEST_PODMAN')}"
    assert _shell(f"{podman} exec {_NAME} id -u", ROOT).strip() == "10001"
    assert "store.sqlite3" in _shell(f"{podman} exec {_NAME} ls /var/lib/ossia", ROOT)
    refused = f"{podman} exec {_NAME} sh -c 'touch /opt/ossia/file 2>&1 || true'"
    assert "Read-only file system" in _shell(refused, ROOT)
    _shell(f"{podman} healthcheck run {_NAME}", ROOT)

"""The blocks of docs/serving.md that need another vendor's program."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from guides.blocks import Block
from serving_page.table import ADDRESS, blocks
from support.serve_process import serving

pytestmark = pytest.mark.clients

_NOTE = "hello from the note"


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    command = [sys.executable, "-m", "ossia", "serve", "demo", "--port", "0"]
    with serving(command, tmp_path_factory.mktemp("open") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def agent_server(tmp_path_factory):
    log = tmp_path_factory.mktemp("agent") / "log"
    with serving([sys.executable, "-m", "clients.agent_server"], log) as address:
        yield address


def _run(command, folder: Path, environ: dict[str, str]) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**kept, "HOME": str(folder), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("block", "source"), [pytest.param(*one, id=one[0].name) for one in blocks("clients")]
)
def test_a_program_that_uses_a_library(block: Block, source, clients_folder, open_server, tmp_path):
    source = source.replace(ADDRESS, open_server)
    assert open_server in source
    if block.saved_as:  # JavaScript, which looks for packages where it lies
        (tmp_path / block.saved_as).write_text(source)
        (tmp_path / "node_modules").symlink_to(clients_folder / "node" / "node_modules")
        command = [clients_folder / "node" / "bin" / "node", block.saved_as]
    else:
        command = [clients_folder / "openai-agents" / "bin" / "python", "-c", source]
    printed = _run(command, tmp_path, {})
    for expected in block.shows:
        assert expected in printed


_AGENTS = [one for one in blocks("agents") if one[0].kind == "client"]


@pytest.fixture
def home(agent_server, clients_folder, tmp_path):
    """Where an agent works, with its settings where the page puts them, and programs by name."""
    for block, source in blocks("agents"):
        if block.saved_as:
            file = (
                tmp_path / (".codex" if block.saved_as == "config.toml" else ".") / block.saved_as
            )
            file.parent.mkdir(exist_ok=True)
            file.write_text(source.replace(ADDRESS, agent_server))
    (tmp_path / "note.txt").write_text(_NOTE)
    modules = clients_folder / "node" / "node_modules"
    node = clients_folder / "node" / "bin" / "node"
    codex = modules / "@openai" / "codex" / "bin" / "codex.js"
    (opencode,) = (
        path for path in modules.glob("opencode-*/bin/opencode") if "-baseline" not in str(path)
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, command in (("codex", [node, codex]), ("opencode", [opencode])):
        text = f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n'
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("block", "source"), [pytest.param(*one, id=one[0].name) for one in _AGENTS]
)
def test_an_agent_at_work(block: Block, source, home, agent_server):
    environ = {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    }
    printed = _run(["bash", "-ec", source.replace(ADDRESS, agent_server)], home, environ)
    for expected in block.shows:
        assert expected in printed

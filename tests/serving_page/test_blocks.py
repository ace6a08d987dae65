"""Runs the page's commands as a reader would, against the servers that the page starts."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guides.blocks import Block, fenced
from guides.running import PATH, run_to_the_end
from ossia.server.guards.keys import key_digest
from ossia.server.options import serve_options
from serving_page.table import ADDRESS, all_blocks, blocks, page, source
from support.serve_process import serving

_SCENES = ("plain", "keys", "tls", "options")


def _play(scene: str, folder: Path) -> dict[str, str]:
    """Prepare, start a server, ask it; gives what each block printed."""
    rest = blocks(scene)
    printed = {}
    while rest[0][0].kind != "server":
        block, text = rest.pop(0)
        if block.saved_as:
            (folder / block.saved_as).write_text(text, encoding="utf-8")
        else:
            printed[block.name] = run_to_the_end(text, folder)
    _, command = rest.pop(0)
    environ = {"OSSIA_SERVE_PORT": "0", "PATH": PATH}
    shell = ["bash", "-c", _as_one_process(command)]
    with serving(shell, folder / "log", environ, folder) as address, ThreadPoolExecutor(4) as pool:

        def ask(block: Block, text: str) -> str:
            here = ADDRESS.replace("http:", "https:") if scene == "tls" else ADDRESS
            assert here.removesuffix("/v1") in text or not block.kind.endswith("client"), block.name
            is_python = block.kind.startswith("python")
            return run_to_the_end(text.replace(here, address), folder, python=is_python)

        # Those that ask need nothing of each other; the server answers several as fast as one.
        for (block, _), said in zip(rest, pool.map(lambda one: ask(*one), rest), strict=True):
            printed[block.name] = said
            for expected in block.shows:
                assert expected in said, (block.name, said)
    return printed


def _as_one_process(command: str) -> str:
    """So that a signal for the shell reaches the server."""
    before, separator, after = command.partition("ossia serve")
    assert separator, command
    return (
        f"{before}exec {separator}{after}"
        if not before
        else f"export {before}; exec {separator}{after}"
    )


def test_the_first_steps(tmp_path):
    printed = _play("plain", tmp_path)
    chat = json.loads(printed["curl chat"])
    assert "3" in chat["choices"][0]["message"]["content"]
    assert "42" in printed["openai stream"].splitlines()[-1]
    assert printed["openai structured"].strip().removeprefix("count=").isdecimal()


def test_keys(tmp_path):
    _play("keys", tmp_path)
    file = tmp_path / "api-keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    options = serve_options({"api_key_file": tmp_path / "hashed-keys"}, environ={})
    (hashed,) = options.settings.api_keys
    assert key_digest(hashed) == key_digest(key)
    assert key not in hashed


def test_https(tmp_path):
    _play("tls", tmp_path)


def test_options_in_a_file_and_the_environment(tmp_path):
    _play("options", tmp_path)
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["status"] == 200
    folder = tmp_path / "ossia-state"
    assert {path.name for path in folder.iterdir()} >= {"store.sqlite3", "sealing.key", "lock"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_block_is_forgotten():
    found = fenced(page())
    table = all_blocks()
    assert len(found) == len(table)
    assert len({block.name for block in table}) == len(table)
    for block in table:
        # What neither runs here nor in `make test-clients` says why.
        assert bool(block.cannot) != (block.scene in (*_SCENES, "clients", "agents")), block.name
        assert source(block.name), block.name


@pytest.mark.parametrize("name", ["config.toml", "opencode.json"])
def test_settings_of_agents_are_those_that_are_tried(name):
    (text,) = (text for block, text in blocks("agents") if block.saved_as == name)
    config = Path(__file__).parents[1] / "clients" / "configs"
    tried = (config / name.replace("config.toml", "codex.toml")).read_text(encoding="utf-8")
    assert text == tried.strip()

"""Codex and opencode at work in a folder: two commands of the model's, and what they printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.serve_process import serving

pytestmark = pytest.mark.clients

_CONFIGS = Path(__file__).parent / "configs"
_URL = "http://127.0.0.1:8000"  # as the configurations have it
_TASK = "What does note.txt say?"
_NOTE = "hello from the note"
_ANSWER = "The note says 'hello from the note' in 19 letters."
_COMMANDS = ["cat note.txt", "wc -c < note.txt"]
_OUTPUTS = [_NOTE, "19\n"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An address, and the access log."""
    log = tmp_path_factory.mktemp("agent") / "log"
    with serving([sys.executable, "-m", "clients.agent_server"], log) as address:
        yield address, log


@pytest.fixture
def work(tmp_path):
    """Where the agents work."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "note.txt").write_text(_NOTE)
    return folder


@pytest.fixture
def home(tmp_path, server):
    """A home for an agent, with a configuration for it."""
    folder = tmp_path / "home"
    folder.mkdir()
    for config in _CONFIGS.iterdir():
        name = "config.toml" if config.name == "codex.toml" else config.name
        (folder / name).write_text(config.read_text().replace(_URL, server[0]))
    return folder


@pytest.fixture
def versions(clients_folder):
    def of(package: str) -> str:
        manifest = clients_folder / "node" / "node_modules" / package / "package.json"
        return f"{package} {json.loads(manifest.read_text())['version']}"

    return of


def _run(command, work: Path, home: Path, **environ: str) -> list[dict]:
    """The events that a command prints."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=work,
        env={**kept, "HOME": str(home), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    return [json.loads(line) for line in lines]


def _requests(log: Path, since: int) -> str:
    return log.read_text()[since:]


_CODEX = {
    "sse": (("-c", "model_providers.ossia.supports_websockets=false"), ["POST /v1/responses"]),
    "websocket": ((), ["WEBSOCKET /v1/responses"]),
    "--oss": (
        ("--oss", "--local-provider", "ollama", "-m", "gpt-oss:20b"),
        ["GET /api/version", "GET /api/tags", "POST /v1/responses"],
    ),
}


def _codex(clients_folder, home, work, address, arguments):
    node = clients_folder / "node"
    program = node / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
    unattended = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    return _run(
        (node / "bin" / "node", program, "exec", *unattended, *arguments),
        work,
        home,
        CODEX_HOME=str(home),
        CODEX_OSS_BASE_URL=f"{address}/v1",
    )


@pytest.mark.parametrize("way", _CODEX)
def test_codex(way, clients_folder, home, work, server, versions, exercising):
    address, log = server
    arguments, expected_requests = _CODEX[way]
    since = len(log.read_text())
    exercised = ("codex", versions("@openai/codex"), f"{way}/tools to the answer, reasoning")
    with exercising(*exercised):
        events = _codex(clients_folder, home, work, address, (*arguments, _TASK))
        _check_codex(events)
        for line in expected_requests:
            assert f'"{line}"' in _requests(log, since)


def _check_codex(events):
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    commands = [item for item in items if item["type"] == "command_execution"]
    assert [item["aggregated_output"] for item in commands] == _OUTPUTS, events
    messages = [item["text"] for item in items if item["type"] == "agent_message"]
    assert messages == ["I run a command.", "I run a command.", _ANSWER], events
    thoughts = [item["text"] for item in items if item["type"] == "reasoning"]
    assert thoughts[0] == "Step 1 needs a command.", events
    assert events[-1]["type"] == "turn.completed", events
    assert events[-1]["usage"]["input_tokens"] > 10_000, events


def test_codex_goes_on_with_a_session(clients_folder, home, work, server, versions, exercising):
    exercised = ("codex", versions("@openai/codex"), "sse/a second turn that replays the first")
    with exercising(*exercised):
        way = _CODEX["sse"][0]
        first = _codex(clients_folder, home, work, server[0], (*way, _TASK))
        more = ("resume", *way, first[0]["thread_id"], "And once more?")
        second = _codex(clients_folder, home, work, server[0], more)
        _check_codex(second)
        used = [events[-1]["usage"]["input_tokens"] for events in (first, second)]
        assert used[1] > used[0], used


def test_codex_says_which_model_is_unknown(
    clients_folder, home, work, server, versions, exercising
):
    exercised = ("codex", versions("@openai/codex"), "sse/unknown model")
    with exercising(*exercised):
        way = (*_CODEX["sse"][0], "-m", "nothing", _TASK)
        *_, last = _codex(clients_folder, home, work, server[0], way)
        assert last["type"] == "turn.failed"
        assert "'nothing' does not exist here" in last["error"]["message"]


def _opencode(clients_folder, home, work, model):
    modules = clients_folder / "node" / "node_modules"
    (program,) = (
        path for path in modules.glob("opencode-*/bin/opencode") if "-baseline" not in str(path)
    )
    return _run(
        (program, "run", "--format", "json", "-m", model, _TASK),
        work,
        home,
        OPENCODE_CONFIG=str(home / "opencode.json"),
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
        OPENCODE_DISABLE_LSP_DOWNLOAD="1",
    )


@pytest.mark.parametrize("provider", ["ossia", "ossia-chat"])
def test_opencode(provider, clients_folder, home, work, server, versions, exercising):
    log = server[1]
    since = len(log.read_text())
    api = {"ossia": "responses", "ossia-chat": "chat"}[provider]
    exercised = ("opencode", versions("opencode-ai"), f"{api}/tools to the answer")
    with exercising(*exercised):
        events = _opencode(clients_folder, home, work, f"{provider}/gpt-oss-20b")
        states = [event["part"]["state"] for event in events if event["type"] == "tool_use"]
        assert [state["input"]["command"] for state in states] == _COMMANDS, events
        assert [state["output"] for state in states] == _OUTPUTS, events
        texts = [event["part"]["text"] for event in events if event["type"] == "text"]
        assert texts[-1] == _ANSWER, events
        path = {"ossia": "/v1/responses", "ossia-chat": "/v1/chat/completions"}[provider]
        assert f'"POST {path}"' in _requests(log, since)


def test_opencode_says_which_model_is_unknown(clients_folder, home, work, versions, exercising):
    exercised = ("opencode", versions("opencode-ai"), "responses/unknown model")
    with exercising(*exercised):
        config = home / "opencode.json"
        config.write_text(config.read_text().replace("gpt-oss-20b", "nothing"))
        events = _opencode(clients_folder, home, work, "ossia/nothing")
        assert any("'nothing' does not exist here" in json.dumps(event) for event in events), events

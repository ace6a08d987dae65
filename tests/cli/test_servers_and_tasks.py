"""`ossia chat` with a server, and `ossia run --task`."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from support.fake_chat_server import FINISHED, event, fake_chat_server


@pytest.mark.parametrize("form", ["address", "url"])
def test_chat_talks_to_a_server(ossia: Any, monkeypatch: Any, form: str):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    answers = [[event(reasoning="Hm."), event(content=text), FINISHED] for text in ("One", "Two")]
    with fake_chat_server(lines=answers) as server:
        words = {
            "address": [server.address, "--model-name-or-path", "a/model"],
            "url": ["a/model", f"http://{server.address}"],
        }[form]
        options = ["-i", "Be kind.", "--effort", "high", "--max-tokens", "9", "-r"]
        result = ossia("chat", *words, *options, stdin="Hi\nAnd?\n")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "Hm.\n\nOne\nHm.\n\nTwo\n"
        _, asked, authorization = server.requests[1]
        assert authorization == "Bearer secret"
        assert (asked["model"], asked["reasoning_effort"]) == ("a/model", "high")
        assert asked["max_tokens"] == 9
        assert [one["content"] for one in asked["messages"]] == ["Be kind.", "Hi", "One", "And?"]
        assert "seed" not in asked


def test_a_server_s_fault_ends_the_chat_in_a_pipe(ossia: Any):
    with fake_chat_server(status=500, body=b"oh no") as server:
        result = ossia("chat", server.address, stdin="Hi\n")
    assert result.exit_code == 1
    assert result.stderr.endswith("answered 500: oh no\n")
    assert result.stdout == ""
    result = ossia("chat", "127.0.0.1:9", stdin="Hi\n")
    assert "cannot be reached" in result.stderr


def test_what_a_server_decides_is_refused_here(ossia: Any):
    for options in (
        ["--device", "cpu"],
        ["--dtype", "float32"],
        ["--revision", "x"],
        ["--cpu-weights", "auto"],
        ["--cpu-activations", "int8"],
        ["--fp8-weights", "unembedding"],
    ):
        result = ossia("chat", "localhost:8000", *options)
        assert result.exit_code == 2
        assert options[0].lstrip("-") in result.stderr
    result = ossia("chat", "demo", "--model-name-or-path", "x")
    assert "no server's address" in result.stderr


class _Pipeline:
    """In place of a pipeline: says what it was asked."""

    calls: list[Any] = []  # noqa: RUF012
    model = torch.nn.Linear(1, 1)

    def __init__(self, task: str, **options: Any) -> None:
        self.calls.append((task, options))

    def __call__(self, inputs: list[Any]) -> list[Any]:
        return [[{"generated_text": f"{one}!"}] for one in inputs]


@pytest.fixture
def piped(monkeypatch: Any) -> list[Any]:
    monkeypatch.setattr("ossia.api.pipelines.factory.pipeline", _Pipeline)
    _Pipeline.calls.clear()
    return _Pipeline.calls


def test_the_guides_command_runs(ossia: Any, piped: list[Any]):
    words = ["--task", "text-generation", "--model", "a/model", "--device", "0"]
    result = ossia("run", *words, stdin="Plants create energy\n\nTwo\n")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines == [[{"generated_text": "Plants create energy!"}], [{"generated_text": "Two!"}]]
    task, options = piped[0]
    assert (task, options["model"], options["device"]) == ("text-generation", "a/model", "0")
    assert (options["temperature"], "max_new_tokens" in options) == (1.0, False)


@pytest.mark.parametrize(("chosen", "expected"), [("", [1]), ("2", [])])
def test_a_task_s_small_model_takes_one_thread(
    ossia: Any, piped: list[Any], monkeypatch: Any, chosen: str, expected: list[int]
):
    """Unless the user has chosen: on a busy machine two are many times slower."""
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    assert ossia("run", "--task", "text-generation", "--model", "m", stdin="a\n").exit_code == 0
    assert counts == expected


def test_tasks_read_and_write_files(ossia: Any, piped: list[Any], tmp_path: Any):
    rows = [{"text": "a", "id": 1}, {"text": "b", "id": 2}]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    (tmp_path / "in.csv").write_text("id,text\n1,a\n2,b\n")
    (tmp_path / "in.txt").write_text("a\nb\n")
    target = tmp_path / "out.json"
    for name, column in (
        ("in.json", ["--column", "text"]),
        ("in.csv", ["--column", "text"]),
        ("in.txt", []),
    ):
        words = ["--task", "ner", "--input", tmp_path / name, "--output", target, *column]
        assert ossia("run", "a/model", *words, "--overwrite").exit_code == 0
        assert json.loads(target.read_text()) == [
            [{"generated_text": "a!"}],
            [{"generated_text": "b!"}],
        ]
    assert piped[0][0] == "ner"
    assert "temperature" not in piped[0][1]
    assert piped[0][1]["model"] == "a/model"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--input", "nowhere"], "nowhere"),
        (["--format", "xml"], "format"),
        (["--output", "{there}"], "--overwrite replaces it"),
        (["--input", "{there}"], "say which of text"),
        (["--input", "{there}", "--column", "x"], "none of text"),
        (["--input", "{broken}"], "no JSON"),
        ([], "no line of input"),
        (["a/model", "a prompt"], "standard input"),
        (["--cpu-weights", "auto"], "cpu-weights: pipelines round nothing"),
        (["--cpu-activations", "int8"], "cpu-activations: pipelines round nothing"),
        (["--fp8-weights", "unembedding"], "fp8-weights: pipelines round nothing"),
        (["--effort", "high"], "effort: says nothing to --task"),
        (["--seed", "0"], "seed: says nothing to --task"),
        (["--stop", "x"], "stop: says nothing to --task"),
        (["--no-reasoning"], "no-reasoning: says nothing to --task"),
        (["--task", "nre"], "task: 'nre' is none of text-generation"),
        (["--task", "ner", "--temperature", "0"], "temperature: is for --task text-generation"),
    ],
)
def test_what_tasks_refuse(ossia: Any, piped: list[Any], tmp_path: Any, words: Any, told: str):
    (tmp_path / "there.json").write_text('[{"text": "a"}]')
    (tmp_path / "broken.json").write_text("{")
    named = {"there": tmp_path / "there.json", "broken": tmp_path / "broken.json"}
    result = ossia("run", "--task", "text-generation", *(word.format(**named) for word in words))
    assert result.exit_code in (1, 2)
    assert told in result.stderr
    assert not piped

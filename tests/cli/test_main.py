"""The frame: help, version, exit codes, and what is loaded when."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import ossia as package
from ossia.cli.errors import exit_code_of
from ossia.cli.main import app
from ossia.errors import ConfigError, MissingDependencyError, ModelNotFoundError

COMMANDS = ("run", "chat", "generate", "pull", "inspect", "convert", "doctor")
HEAVY = {"torch", "numpy", "rich", "tokenizers", "huggingface_hub", "safetensors", "jinja2"}


def test_help_lists_every_command_and_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from ossia.cli.main import main\n"
        "assert main(['--help']) == 0\n"
        f"loaded = {HEAVY} & {{name.partition('.')[0] for name in sys.modules}}\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_no_words_mean_help(ossia):
    assert ossia() == ossia("--help")
    assert ossia("-h").exit_code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_in_whole_sentences(ossia, command):
    result = ossia(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: ossia {command} ")
    (listed,) = [line for line in ossia().stdout.splitlines() if line.startswith(f"  {command} ")]
    assert not listed.endswith("..."), listed


@pytest.mark.parametrize("module", [f"ossia.cli.{command}" for command in COMMANDS])
def test_examples_are_accepted(module):
    command = typer.main.get_command(app)
    examples = importlib.import_module(module).EXAMPLES
    assert examples
    for example in examples:
        *_, words = _split(shlex.split(example))
        assert words[0] == "ossia"
        with command.make_context("ossia", words[1:]) as context:
            assert words[1] == module.rpartition(".")[2]
            subcommand = command.get_command(context, words[1])
            subcommand.make_context(words[1], words[2:], parent=context)


def _split(words: list[str]) -> list[list[str]]:
    """The commands of a pipe."""
    commands = [[]]
    for word in words:
        commands.append([]) if word == "|" else commands[-1].append(word)
    return commands


def test_version(ossia):
    assert ossia("--version").stdout == f"ossia {package.__version__}\n"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONWARNINGS": "error"}


@pytest.mark.parametrize(
    "start", [[sys.executable, "-m", "ossia"], [str(Path(sys.executable).with_name("ossia"))]]
)
def test_both_ways_to_start_it(start):
    done = subprocess.run(
        [*start, "inspect", "./nowhere"],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "error: ./nowhere: no such folder\n"


def test_a_reader_that_goes_away_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "ossia", "inspect", "random:120b", "--tensors"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.parametrize(
    ("redirection", "words", "expected"),
    [
        ("<&-", "run -", (2, "", "error: prompt: is empty\n")),
        ("<&-", "inspect ./nowhere", (4, "", "error: ./nowhere: no such folder\n")),
        (">&-", "--version", (0, "", "")),
        ("2>&-", "inspect ./nowhere", (4, "", "")),
        ("<&- >&- 2>&-", "--version", (0, "", "")),
    ],
)
def test_closed_streams_are_no_error(redirection, words, expected):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m ossia {words} {redirection}', sys.executable],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(unbuffered):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ossia", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=_environment() | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (ConfigError("bad\nconfig"), 3, "error: bad config"),
        (ModelNotFoundError("no"), 4, "error: no"),
        (MissingDependencyError("install x"), 5, "error: install x"),
        (MemoryError(), 1, "error: out of memory: use a smaller model or context"),
        (
            OSError(28, "No space left on device", "a\nb"),
            1,
            "error: a b: No space left on device; OSSIA_DEBUG=1 shows where",
        ),
        (
            OSError(5, "Input/output error"),
            1,
            "error: Input/output error; OSSIA_DEBUG=1 shows where",
        ),
        (KeyError("x"), 70, "error: unexpected KeyError: 'x'; OSSIA_DEBUG=1 shows where"),
        (typer.BadParameter("no"), 2, "error: Invalid value: no; see `ossia --help`"),
    ],
)
def test_errors_are_one_line(capsys, monkeypatch, error, exit_code, line):
    monkeypatch.delenv("OSSIA_DEBUG", raising=False)

    def fail() -> None:
        raise error

    assert exit_code_of(fail) == exit_code
    assert capsys.readouterr() == ("", f"{line}\n")


def test_debugging_shows_tracebacks(capsys, monkeypatch):
    monkeypatch.setenv("OSSIA_DEBUG", "1")

    def fail() -> None:
        raise KeyError("x")

    assert exit_code_of(fail) == 70
    stderr = capsys.readouterr().err
    assert stderr.startswith("Traceback")
    assert stderr.endswith("error: unexpected KeyError: 'x'\n")


@pytest.mark.parametrize(
    ("signal", "exit_code"), [(KeyboardInterrupt, 130), (typer.Abort, 130), (typer.Exit(5), 5)]
)
def test_ends_that_are_no_errors(capsys, signal, exit_code):
    def end() -> None:
        raise signal

    assert exit_code_of(end) == exit_code
    assert capsys.readouterr().out == ""

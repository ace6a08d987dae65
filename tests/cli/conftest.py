"""The command line in this process: arguments in, exit code and both streams out."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ossia.cli.main import main
from support.folders import write_tiny_folder


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


Command = Callable[..., Result]


@pytest.fixture
def ossia(capsys, monkeypatch) -> Command:
    """Runs a command line; `stdin` is text or bytes."""

    def run(*arguments: object, stdin: str | bytes = "") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        exit_code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(exit_code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A checkpoint folder with random weights."""
    return write_tiny_folder(tmp_path_factory.mktemp("cli") / "tiny")


@pytest.fixture(scope="session")
def short_folder(tmp_path_factory) -> Path:
    """One whose context is 64 tokens, which the system message alone exceeds."""
    return write_tiny_folder(tmp_path_factory.mktemp("cli") / "short", max_position_embeddings=64)

"""Runs the programs of the catalogue, and reads what they tell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.catalogue import PROGRAMS, Client
from clients.judging import Seen

_TIMEOUT = 280  # seconds


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a program told.

    Args:
        versions: Of its packages.
        cases: What was seen in each.
        rest: Everything else that it printed.
    """

    versions: dict[str, str] = field(default_factory=dict[str, str])
    cases: dict[str, Seen] = field(default_factory=dict[str, Seen])
    rest: str = ""


def run(client: Client, folder: Path | None, url: str, key: str) -> Told:
    """Run a client's program against a server.

    Args:
        client: Of the catalogue.
        folder: That `install.py` filled; None will do for clients that need nothing from there.
        url: Of the server, without `/v1`.
        key: That it asks for.
    """
    done = subprocess.run(
        _command(client, folder),
        env=_environment() | {"OSSIA_URL": url, "OSSIA_KEY": key},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    lines = [line[2:] for line in done.stdout.splitlines() if line.startswith("@@")]
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return Told(
        versions=told[0]["versions"] if told else {},
        cases={one["case"]: one for one in told[1:]},
        rest=(done.stdout + done.stderr)[-6000:],
    )


def _command(client: Client, folder: Path | None) -> list[str]:
    if not client.is_installed_apart:
        return [sys.executable, str(PROGRAMS / client.program)]
    assert folder is not None
    if client.language == "python":
        return [str(folder / client.name / "bin" / "python"), str(PROGRAMS / client.program)]
    home = folder / "node"
    for program in PROGRAMS.glob("*.mjs"):  # Node looks for packages where the program lies
        shutil.copy(program, home)
    return [str(home / "bin" / "node"), str(home / client.program)]


def _environment() -> dict[str, str]:
    """Nothing of what this process has for itself: packages, keys, proxies."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")
    return {name: os.environ[name] for name in kept if name in os.environ}

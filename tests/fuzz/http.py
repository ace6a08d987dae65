"""schemathesis on the server's own OpenAPI document, over a real socket and a scripted engine.

    cd tests && python -m fuzz.http --seconds 600
    cd tests && python -m fuzz.http --examples 5 --seed 2

All phases: the examples in the document, the edges of its schemas, bodies at random, and chains of
requests along its links. `http.toml` says which checks hold where, `http_checks` adds our own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.request import Request, urlopen

from support.serve_process import serving

KEY = "fuzz-key"
_TESTS = Path(__file__).parents[1]
_CONFIG = Path(__file__).with_suffix(".toml")
_SETTINGS = {"api_keys": [KEY], "request_timeout": 10, "keep_alive": 5}
_SERVER = [sys.executable, "-m", "support.engine_server", json.dumps(_SETTINGS)]


def server(folder: Path) -> AbstractContextManager[str]:
    """A server over a scripted engine; gives its address.

    Args:
        folder: For its log.
    """
    return serving(_SERVER, folder / "server.log")


def run(address: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a server.

    Args:
        address: Of the server.
        folder: For files.
        options: Of `schemathesis run`.
    """
    (folder / "openapi.json").write_bytes(_document(address))
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={_CONFIG}", "run"]
    command += ["openapi.json", f"--url={address}", "--no-color", *options]
    paths = os.pathsep.join([str(_TESTS), *sys.path])
    environ = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environ
    )


def complaints(folder: Path) -> list[str]:
    """Lines of the server's log that tell of errors."""
    log = (folder / "server.log").read_text(encoding="utf-8")
    return [line for line in log.splitlines() if "rror" in line]


def _document(address: str) -> bytes:
    asked = Request(f"{address}/openapi.json", headers={"x-api-key": KEY})
    with urlopen(asked, timeout=10) as answer:
        return answer.read()


def main() -> None:
    """Run it, and show what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, help="repeat until this time is up")
    parser.add_argument("--examples", type=int, default=50, help="bodies at random an operation")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    options = [f"--max-examples={chosen.examples}", f"--seed={chosen.seed}"]
    if chosen.seconds is not None:
        options.append(f"--max-time={chosen.seconds}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder) as address:
            done = run(address, folder, *options)
        print(done.stdout, done.stderr)
        told = complaints(folder)
    print(f"{len(told)} lines of the server's log tell of errors", *told[:20], sep="\n")
    sys.exit(done.returncode or bool(told))


if __name__ == "__main__":
    main()

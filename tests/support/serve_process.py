"""Servers as their users start them: processes on real sockets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_ADDRESS = re.compile(r"https?://127\.0\.0\.1:\d+")


@dataclass(frozen=True)
class ServerProcess:
    """A server whose model is ready.

    Args:
        process: That serves.
        address: Such as `http://127.0.0.1:41234`.
        log: What it says on stderr.
    """

    process: subprocess.Popen[str]
    address: str
    log: Path

    def end(self) -> None:
        """Let it end as it should."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0, self.log.read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started(
    command: Sequence[str],
    log: Path,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    until: str = "The model is ready",
) -> Iterator[ServerProcess]:
    """A server, killed at the end of the block if it still runs.

    Args:
        command: Starts it; it prints its address, and then that the model is ready.
        log: Where what it says on stderr goes.
        environ: Further variables of its environment.
        folder: Where it runs; None is here.
        until: Begin of the line that is waited for.
    """
    path = os.pathsep.join([str(_ROOT / "src"), str(_ROOT / "tests")])
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environ or {})}
    with log.open("a", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=variables, cwd=folder
        )
        assert process.stdout is not None
        banner = ""
        try:
            for line in process.stdout:
                banner += line
                if line.startswith(until):
                    break
            address = _ADDRESS.search(banner)
            assert address is not None, banner + log.read_text(encoding="utf-8")
            yield ServerProcess(process, address[0], log)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@contextmanager
def serving(
    command: Sequence[str],
    log: Path,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    until: str = "The model is ready",
) -> Iterator[str]:
    """The address of a server as `started` gives it, which ends as it should with the block."""
    with started(command, log, environ, folder, until) as server:
        yield server.address
        server.end()

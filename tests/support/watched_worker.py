"""The real engine process, which says what it holds: `python -m support.watched_worker SOCKET SPEC`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ossia.server.engine import worker
from ossia.server.engine.spec import WorkerSpec
from support import census


def command(socket: Path, spec: WorkerSpec) -> list[str]:
    """The command line of a process that answers `census.ask` on a socket."""
    return [sys.executable, "-m", "support.watched_worker", str(socket), spec.to_json()]


if __name__ == "__main__":
    os.environ[census.VARIABLE] = sys.argv.pop(1)
    census.answer_in_background()
    os._exit(worker.main(sys.argv[1:]))

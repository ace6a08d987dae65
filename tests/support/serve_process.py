"""Servers as their users start them: processes on real sockets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def serving(
    command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A server until the end of the block; gives its address once its model is ready.

    Args:
        command: Starts it; it prints its address, and then that the model is ready.
        log: Where what it says on stderr goes.
        environ: Further variables of its environment.
    """
    path = os.pathsep.join([str(_ROOT / "src"), str(_ROOT / "tests")])
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environ or {})}
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=variables
        )
        assert process.stdout is not None
        banner = ""
        try:
            for line in process.stdout:
                banner += line
                if line.startswith("The model is ready"):
                    break
            address = _ADDRESS.search(banner)
            assert address is not None, banner + log.read_text(encoding="utf-8")
            yield address[0]
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert process.returncode == 0, log.read_text(encoding="utf-8")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

"""Running a code block as a person would: in a process of its own, to the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""On it `ossia` and `python` are those of this process."""


def run_to_the_end(
    source: str,
    folder: Path,
    *,
    python: bool = False,
    typed: str = "",
    environ: Mapping[str, str] | None = None,
) -> str:
    """What a block prints; it must end well.

    Args:
        source: The block.
        folder: Where it runs.
        python: Whether it is Python, for which warnings are errors; otherwise it is for a shell.
        typed: What a person types into it.
        environ: Further variables of its environment.
    """
    command = [sys.executable, "-W", "error", "-c", source] if python else ["bash", "-ec", source]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    variables = {"PATH": PATH, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **(environ or {})}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        input=typed,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{source}\n{done.stdout}{done.stderr}"
    return done.stdout

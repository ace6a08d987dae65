"""Triton's interpreter: kernels run on the CPU, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def run_interpreted(file: str) -> None:
    """Run a test file as a program in which Triton interprets; it decides that at its import."""
    done = subprocess.run(
        [sys.executable, file],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def allow_loaded_bounds() -> None:
    """Let loops run to a number that a kernel has loaded or was given.

    The interpreter makes an int of an array of one element, which numpy 2.4 refuses.
    """
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: interpreter._LangPatchScope) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched

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


def convert_fp8_as_devices_do() -> None:
    """Let float32 become float8e4nv and the other way round as torch does it, NaN included.

    The interpreter loses the carry of what it rounds up to a power of two, and makes a number of NaN.
    """
    import numpy as np
    import torch
    import triton.language as tl
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def converted(input, input_dtype, output_dtype, rounding_mode):
        known = torch.from_numpy(np.array(input))
        if (input_dtype, output_dtype) == (tl.float32, tl.float8e4nv):
            return known.to(torch.float8_e4m3fn).view(torch.uint8).numpy()
        if (input_dtype, output_dtype) == (tl.float8e4nv, tl.float32):
            return known.view(torch.float8_e4m3fn).float().numpy()
        return convert(input, input_dtype, output_dtype, rounding_mode)

    interpreter._convert_float = converted

"""CUDA kernels without tensor cores, compiled for the host and run there block by block, on tiny inputs."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from ossia.kernels.cuda.program import source_of

_SHIM = Path(__file__).parent / "host_cuda.h"
_INSTRUCTIONS = {  # the few in PTX that such kernels need
    'asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));': "r = bf16x2(second, first);",
}


def on_the_host(name: str, calls: str, folder: Path) -> ctypes.CDLL:
    """Compile a source with C functions that run its kernels.

    Args:
        name: Of the source.
        calls: In C++, `extern "C"`; `host::run(kernel, grid, threads, arguments)` runs a kernel.
        folder: To work in.
    """
    compiler = shutil.which("g++")
    if compiler is None or not _has_barriers(compiler, folder):
        pytest.skip("needs GNU's C++ compiler, 11 or newer")
    source, headers = source_of(name)
    for file, text in {name: source, **headers}.items():
        for instruction, host in _INSTRUCTIONS.items():
            text = text.replace(instruction, host)
        (folder / file).write_text(text)
    shutil.copy(_SHIM, folder)
    (folder / "main.cpp").write_text(f'#include "host_cuda.h"\n#include "{name}"\n{calls}\n')
    library = folder / "kernels.so"
    command = [
        compiler,
        "-std=c++20",
        "-O1",
        "-w",
        "-shared",
        "-fPIC",
        "-pthread",
        "main.cpp",
        "-o",
        library,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def _has_barriers(compiler: str, folder: Path) -> bool:
    """Other compilers refuse the registers' names of PTX, too."""
    (folder / "probe.cpp").write_text(
        "#include <barrier>\n#if defined(__clang__)\n#error\n#endif\n"
    )
    command = [compiler, "-std=c++20", "-fsyntax-only", "probe.cpp"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0

"""Program: the kernels of one source file, compiled for one device and loaded."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from ossia.env import cache_folder
from ossia.errors import ConfigError, KernelError
from ossia.kernels.cuda.launch import Kernel, load_kernel, load_library
from ossia.kernels.cuda.nvrtc import compile_cubin, find_nvrtc, nvrtc_version

_log = logging.getLogger(__name__)
_SOURCES = files("ossia.kernels") / "csrc" / "cuda"


def why_not(device: torch.device) -> str | None:
    """Why CUDA sources cannot run on a device; None where they can."""
    if device.type != "cuda":
        return "needs a CUDA device"
    if torch.version.cuda is None:
        return "needs a torch that was built for CUDA"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "needs compute capability 8.0 or newer"
    return None if find_nvrtc() is not None else "needs libnvrtc, which comes with torch for CUDA"


def source_of(name: str) -> tuple[str, dict[str, str]]:
    """A source file and the headers beside it, by name."""
    headers = {
        entry.name: entry.read_text("utf-8")
        for entry in _SOURCES.iterdir()
        if entry.name.endswith(".cuh")
    }
    return (_SOURCES / name).read_text("utf-8"), dict(sorted(headers.items()))


def arch_of(capability: tuple[int, int]) -> str:
    """What the compiler calls a kind of device; Hopper's own instructions need the `a`."""
    suffix = "a" if capability[0] == 9 else ""
    return f"sm_{capability[0]}{capability[1]}{suffix}"


class Program:
    """Kernels by name.

    Args:
        name: A file of ossia/kernels/csrc/cuda.
        device: Where they are to run.

    Raises:
        KernelError: the device cannot run CUDA sources, or the file does not compile.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._name = name
        self._device = device
        self._library = load_library(_cubin(name, torch.cuda.get_device_capability(device)))
        self._kernels: dict[str, Kernel] = {}

    def __getitem__(self, kernel: str) -> Kernel:
        """A kernel of the file.

        Raises:
            KernelError: there is none of that name.
        """
        if kernel not in self._kernels:
            self._kernels[kernel] = load_kernel(self._library, kernel)
        return self._kernels[kernel]


@cache
def program(name: str, device: torch.device) -> Program:
    """The program of a file on a device, loaded once."""
    return Program(name, device)


def _cubin(name: str, capability: tuple[int, int]) -> bytes:
    """Compiled now, or by an earlier process of the same sources, device kind and compiler."""
    nvrtc = find_nvrtc()
    if nvrtc is None:
        raise KernelError("libnvrtc was not found; it comes with torch for CUDA")
    source, headers = source_of(name)
    arch = arch_of(capability)
    kept = _kept_at(nvrtc, name, source, headers, arch)
    if kept is not None and kept.exists():
        return kept.read_bytes()
    cubin = compile_cubin(nvrtc, name, source, headers, arch)
    if kept is not None:
        _keep(kept, cubin)
    return cubin


def _kept_at(
    nvrtc: ctypes.CDLL, name: str, source: str, headers: dict[str, str], arch: str
) -> Path | None:
    told = "\0".join((nvrtc_version(nvrtc), arch, source, *headers, *headers.values()))
    digest = hashlib.sha256(told.encode()).hexdigest()[:24]
    try:
        return cache_folder() / "cubin" / f"{Path(name).stem}-{arch}-{digest}.cubin"
    except ConfigError:  # a bad setting is reported by what cannot do without the cache
        return None


def _keep(path: Path, cubin: bytes) -> None:
    """Write so that nobody ever reads half a file; a cache that cannot be written is no error."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(cubin)
        partial.replace(path)
    except OSError as error:
        _log.info("compiled kernels are not kept: %s", error)

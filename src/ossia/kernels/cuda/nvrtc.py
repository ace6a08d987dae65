"""NVRTC, CUDA's run-time compiler, through ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from ossia.errors import KernelError

_MAJORS = ("13", "12")  # newest first; what torch 2.11 and later come with


@cache
def find_nvrtc() -> ctypes.CDLL | None:
    """The library, from torch's CUDA wheels or wherever the loader finds it; None if nowhere."""
    for candidate in _candidates():
        try:
            _load_builtins(Path(candidate))
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    return None


def _load_builtins(nvrtc: Path) -> None:
    """What NVRTC itself opens by name, which the loader does not look for beside it."""
    if nvrtc.is_absolute() and nvrtc.parent.is_dir():
        for path in sorted(nvrtc.parent.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(path))


def nvrtc_version(nvrtc: ctypes.CDLL) -> str:
    """Such as "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(nvrtc, nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def compile_cubin(
    nvrtc: ctypes.CDLL, name: str, source: str, headers: Mapping[str, str], arch: str
) -> bytes:
    """Compile one source file for one kind of device.

    Args:
        nvrtc: The library.
        name: File name for messages.
        source: Its text.
        headers: What it may include, by name.
        arch: Such as "sm_90a".

    Returns:
        An ELF image that the driver loads.

    Raises:
        KernelError: it does not compile; the message holds the compiler's log.
    """
    program = ctypes.c_void_p()
    texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
    names = (ctypes.c_char_p * len(headers))(*(header.encode() for header in headers))
    _check(
        nvrtc,
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), name.encode(), len(headers), texts, names
        ),
    )
    try:
        options = (b"--std=c++17", b"-default-device", f"--gpu-architecture={arch}".encode())
        array = (ctypes.c_char_p * len(options))(*options)
        failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
        if failed:
            log = _text(nvrtc, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            raise KernelError(f"{name} does not compile for {arch}:\n{log}")
        return _text(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.raw


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise KernelError(f"NVRTC: {nvrtc.nvrtcGetErrorString(status).decode()}")


def _candidates() -> Iterator[str]:
    majors = [torch.version.cuda.split(".")[0]] if torch.version.cuda else list(_MAJORS)
    for major in majors:
        name = f"nvrtc64_{major}0_0.dll" if os.name == "nt" else f"libnvrtc.so.{major}"
        for folder in _folders():
            yield from (str(path) for path in sorted(folder.glob(f"**/{name}")))
        yield name


def _folders() -> list[Path]:
    """Where wheels put the library."""
    nvidia = find_spec("nvidia")
    places = nvidia.submodule_search_locations if nvidia is not None else None
    return [*map(Path, places or ()), Path(torch.__file__).parent / "lib"]

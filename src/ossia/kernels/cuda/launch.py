"""Loading and launching kernels through the CUDA driver, by ctypes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache

import torch

from ossia.errors import KernelError

_PROGRAMMATIC_STREAM_SERIALIZATION = 6  # CUlaunchAttributeID, cuda.h
_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8  # CUfunction_attribute, cuda.h
_PREFERRED_SHARED_MEMORY_CARVEOUT = 9  # likewise


class _Attribute(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("value", ctypes.c_int),
        ("rest", ctypes.c_char * 60),
    ]


class _Config(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("num_attributes", ctypes.c_uint),
    ]


@dataclass(slots=True)
class Kernel:
    """A loaded kernel.

    Args:
        name: Its name in the source.
        handle: The driver's CUfunction.
    """

    name: str
    handle: ctypes.c_void_p
    _shared_bytes: int = field(default=0, init=False)

    def allow_shared(self, num_bytes: int) -> None:
        """Let its blocks have so much dynamic shared memory."""
        if num_bytes > self._shared_bytes:
            _check(
                _driver().cuFuncSetAttribute(
                    self.handle, _MAX_DYNAMIC_SHARED_SIZE_BYTES, num_bytes
                ),
                self.name,
            )
            self._shared_bytes = num_bytes

    def blocks_per_multiprocessor(self, threads: int, shared_bytes: int) -> int:
        """How many blocks can run side by side on one multiprocessor."""
        self.allow_shared(shared_bytes)
        count = ctypes.c_int()
        occupancy = _driver().cuOccupancyMaxActiveBlocksPerMultiprocessor
        _check(
            occupancy(ctypes.byref(count), self.handle, threads, ctypes.c_size_t(shared_bytes)),
            self.name,
        )
        return count.value


def launch(
    kernel: Kernel,
    grid: tuple[int, int, int],
    threads: int,
    shared_bytes: int,
    arguments: ctypes.Structure,
    *,
    overlap: bool = True,
) -> None:
    """Enqueue a kernel on torch's current stream.

    Args:
        kernel: What to run.
        grid: Blocks.
        threads: Threads of a block.
        shared_bytes: Dynamic shared memory of a block.
        arguments: Its only parameter, passed by value.
        overlap: Whether it may start before the kernel in front of it has ended (programmatic
            dependent launch); it must then wait on the device. Ignored before Hopper.

    Raises:
        KernelError: the driver refuses.
    """
    kernel.allow_shared(shared_bytes)
    attribute = _Attribute(id=_PROGRAMMATIC_STREAM_SERIALIZATION, value=1)
    config = _Config(
        grid=grid,
        block=(threads, 1, 1),
        shared_bytes=shared_bytes,
        stream=torch.cuda.current_stream().cuda_stream,
        attributes=ctypes.pointer(attribute),
        num_attributes=int(overlap and _overlaps()),
    )
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
    _check(
        _driver().cuLaunchKernelEx(ctypes.byref(config), kernel.handle, parameters, None),
        kernel.name,
    )


def load_library(cubin: bytes) -> ctypes.c_void_p:
    """Machine code to a CUmodule of the current device."""
    torch.cuda.current_stream()  # makes torch's context the current one
    module = ctypes.c_void_p()
    _check(_driver().cuModuleLoadData(ctypes.byref(module), cubin), "loading")
    return module


def load_kernel(library: ctypes.c_void_p, name: str) -> Kernel:
    """A kernel of a loaded module."""
    handle = ctypes.c_void_p()
    _check(_driver().cuModuleGetFunction(ctypes.byref(handle), library, name.encode()), name)
    # Blocks of different kernels run side by side only where memory is cut into shared memory and cache
    # alike; a multiprocessor must be empty before that changes.
    _check(_driver().cuFuncSetAttribute(handle, _PREFERRED_SHARED_MEMORY_CARVEOUT, 100), name)
    return Kernel(name, handle)


@cache
def _overlaps() -> bool:
    return torch.cuda.get_device_capability() >= (9, 0)


@cache
def _driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise KernelError(f"the CUDA driver cannot be loaded: {error}") from None


def _check(status: int, what: str) -> None:
    if status:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(status, ctypes.byref(text))
        raise KernelError(f"CUDA driver, {what}: {(text.value or b'unknown error').decode()}")

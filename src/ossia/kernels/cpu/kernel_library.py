"""KernelLibrary: the shared library of CPU kernels, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from ossia.env import cpu_isa, cpu_pin
from ossia.errors import ConfigError, KernelError, OssiaError
from ossia.kernels.cpu.calls import (
    AttentionCall,
    DecoderCall,
    ExpertsCall,
    LinearCall,
    LogprobsCall,
    NarrowLogitsCall,
    RopeCall,
    SamplingCall,
    StepCall,
)
from ossia.log import logger, warn_once

_FILE = Path(__file__).parent / "libossia_cpu.so"
_SOURCES = Path(__file__).parents[1] / "csrc" / "cpu"
_SYSTEM_CPUS = Path("/sys/devices/system/cpu")
_LOG = logger(__name__)

_pointer, _int, _int64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64


TYPES = {torch.float32: 0, torch.bfloat16: 1}
"""Dtypes that the kernels take, as ossia_cpu.h numbers them."""


_INTERFACE = {  # name -> result, arguments
    "ossia_source_digest": (ctypes.c_char_p, ()),
    "ossia_isa_count": (_int, ()),
    "ossia_isa_name": (ctypes.c_char_p, (_int,)),
    "ossia_isa_obstacle": (ctypes.c_char_p, (_int,)),
    "ossia_isa_drawback": (ctypes.c_char_p, (_int,)),
    "ossia_isa_used": (ctypes.c_char_p, ()),
    "ossia_use": (_int, (ctypes.c_char_p,)),
    "ossia_places": (_int, (ctypes.c_char_p, _pointer, _int64, _int, _pointer)),
    "ossia_keep_workers": (None, (_int,)),
    "ossia_read": (ctypes.c_uint64, (_pointer, _int64, _int64, _int)),
    "ossia_ask_for_large_pages": (None, (_pointer, _int64)),
    "ossia_page_out": (None, (_pointer, _int64)),
    "ossia_read_ahead": (None, (_pointer, _int64)),
    "ossia_interleave": (
        _int,
        (_pointer, _pointer, _int64, _int64, _int64, _int, _pointer, _pointer, _int),
    ),
    "ossia_quantize": (_int, (_pointer, _int64, _int64, _pointer, _pointer, _int)),
    "ossia_rms_norm": (
        _int,
        (_pointer, _pointer, ctypes.c_float, _pointer, _int64, _int64, _int, _int),
    ),
    "ossia_rotate_and_write": (_int, (ctypes.POINTER(RopeCall),)),
    "ossia_attend": (_int, (ctypes.POINTER(AttentionCall),)),
    "ossia_run_linear": (_int, (ctypes.POINTER(LinearCall),)),
    "ossia_run_decoder": (_int, (ctypes.POINTER(DecoderCall),)),
    "ossia_run_experts": (_int, (ctypes.POINTER(ExpertsCall),)),
    "ossia_widen": (_int, (_pointer, _pointer, _int64, _int)),
    "ossia_sample": (_int, (ctypes.POINTER(SamplingCall),)),
    "ossia_most_likely": (_int, (ctypes.POINTER(NarrowLogitsCall),)),
    "ossia_run_step": (_int, (ctypes.POINTER(StepCall),)),
    "ossia_token_logprobs": (_int, (ctypes.POINTER(LogprobsCall),)),
}

_ERRORS = {
    1: "not enough memory",
    2: "an expert's number is out of range",
    3: "an instruction set that this library lacks, or this processor",
    4: "a token's number is out of range",
}


class KernelLibrary:
    """The loaded library. Its functions drop the interpreter's lock while they run.

    Args:
        file: The shared library.

    Raises:
        KernelError: it cannot be loaded, or lacks a function.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._functions = ctypes.CDLL(str(file))
            for name, (result, arguments) in _INTERFACE.items():
                function = getattr(self._functions, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise KernelError(f"{file} cannot be loaded ({error}); {_REBUILD}") from None

    @property
    def source_digest(self) -> str:
        """Of the sources that it was built from, as `digest_of_sources` gives it."""
        return self._functions.ossia_source_digest().decode()

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._functions.ossia_isa_used().decode()

    def isas(self) -> dict[str, bool]:
        """Every instruction set in the library, plainest first: whether this machine runs it."""
        return {name: obstacle is None for name, obstacle in self.obstacles().items()}

    def obstacles(self) -> dict[str, str | None]:
        """Every instruction set in the library, plainest first: why this machine does not run it, if so."""
        return self._said_of_isas("ossia_isa_obstacle")

    def drawbacks(self) -> dict[str, str | None]:
        """Every instruction set: why it is not chosen here even where it runs; None where nothing is against it."""
        return self._said_of_isas("ossia_isa_drawback")

    def _said_of_isas(self, name: str) -> dict[str, str | None]:
        functions, said = self._functions, getattr(self._functions, name)
        of_isas: dict[str, str | None] = {}
        for idx in range(functions.ossia_isa_count()):
            words: bytes | None = said(idx)
            isa = functions.ossia_isa_name(idx).decode()
            of_isas[isa] = None if words is None else words.decode()
        return of_isas

    def use(self, isa: str) -> None:
        """Run on this instruction set from now on; not while another thread is in a kernel.

        Raises:
            ConfigError: there is no such set, or this machine does not run it.
        """
        if self._functions.ossia_use(isa.encode()):
            runs = ", ".join(name for name, can in self.isas().items() if can)
            why = self.obstacles().get(isa, "this library was built without it")
            raise ConfigError(
                f"OSSIA_CPU_ISA={isa!r} does not run here ({why}); this machine runs {runs}"
            )

    @contextmanager
    def using(self, isa: str) -> Iterator[None]:
        """Run on an instruction set for a while; as `use`."""
        before = self.isa
        self.use(isa)
        try:
            yield
        finally:
            self.use(before)

    def places(
        self, cpus: Collection[int], threads: int, sysfs: Path = _SYSTEM_CPUS
    ) -> list[set[int]]:
        """CPUs that each of so many threads is best kept to; none if there are fewer CPUs than threads.

        Args:
            cpus: That they may run on.
            threads: The first is whoever calls a kernel, and is never kept anywhere.
            sysfs: A folder with what Linux says of each CPU.
        """
        numbers = torch.tensor(sorted(cpus), dtype=torch.int32)
        thread_of = torch.full_like(numbers, -1)
        self.call(
            "ossia_places", os.fsencode(sysfs), numbers.data_ptr(), len(numbers), threads, thread_of.data_ptr()
        )  # fmt: skip
        places: list[set[int]] = [set() for _ in range(threads)]
        for cpu, thread in zip(numbers.tolist(), thread_of.tolist(), strict=True):
            if thread >= 0:
                places[thread].add(cpu)
        return places if all(places) else []

    def keep_workers(self, kept: bool) -> None:
        """Whether threads that help callers are kept to their `places` from the next new one on."""
        self._functions.ossia_keep_workers(kept)

    def read(self, memory: torch.Tensor, threads: int, *, ahead: int = 0) -> int:
        """Read a contiguous tensor on the CPU, fetching `ahead` bytes ahead; the exclusive or of its words."""
        assert memory.is_contiguous()
        return self._functions.ossia_read(memory.data_ptr(), memory.nbytes, ahead, threads)

    def ask_for_large_pages(self, memory: torch.Tensor) -> None:
        """Have a contiguous tensor that nobody has written yet lie in large pages, if there are some."""
        assert memory.is_contiguous()
        self._functions.ossia_ask_for_large_pages(memory.data_ptr(), memory.nbytes)

    def page_out(self, memory: torch.Tensor) -> None:
        """Let the system take back a contiguous tensor's pages, as far as they are a file's."""
        assert memory.is_contiguous()
        self._functions.ossia_page_out(memory.data_ptr(), memory.nbytes)

    def read_ahead(self, memory: torch.Tensor) -> None:
        """Have the system read a contiguous tensor's pages, as far as they are a file's; returns once all are asked for."""
        assert memory.is_contiguous()
        self._functions.ossia_read_ahead(memory.data_ptr(), memory.nbytes)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the interface that returns a status; torch's profiler sees it by name.

        Raises:
            KernelError: it returned an error.
        """
        function = getattr(self._functions, name)
        if torch.autograd.profiler._is_profiler_enabled:
            with torch.profiler.record_function(name):
                status = function(*arguments)
        else:
            status = function(*arguments)
        if status:
            raise KernelError(f"{name}: {_ERRORS[status]}")


def load() -> KernelLibrary | None:
    """The library, on the instruction set that OSSIA_CPU_ISA names or the best one; None without it.

    Without one torch's operations run; a warning is logged once, and `ossia doctor` says why.

    Raises:
        ConfigError: OSSIA_CPU_ISA names a set that does not run here.
    """
    found = _loaded()
    return found if isinstance(found, KernelLibrary) else None


def why_not() -> str | None:
    """Why there is no library, and what to do about it; None where there is one."""
    found = _loaded()
    return None if isinstance(found, KernelLibrary) else found


@lru_cache
def _loaded() -> KernelLibrary | str:
    wanted = cpu_isa()
    if wanted == "off":
        return "switched off by OSSIA_CPU_ISA=off"
    if not _FILE.exists():
        reason = f"was not built; {_REBUILD}"
        warn_once(_LOG, f"the library of CPU kernels {reason}; torch's operations run instead")
        return reason
    try:
        found = KernelLibrary(_FILE)
        _check_age(found)
    except OssiaError as error:
        warn_once(_LOG, f"{error}; torch's operations run instead")
        return str(error)
    found.keep_workers(cpu_pin())
    if wanted is not None:
        found.use(wanted)
    elif found.isa == "portable":
        warn_once(_LOG, _NO_VECTORS)
    return found


def _check_age(found: KernelLibrary) -> None:
    # A wheel holds no sources, only a checkout does.
    if _SOURCES.exists() and found.source_digest != digest_of_sources(_SOURCES):
        raise KernelError(f"the CPU kernels are older than their sources; {_REBUILD}")


def digest_of_sources(folder: Path) -> str:
    """SHA-256, in hexadecimal, over those of every source file of the library, by name."""
    files = (path for path in folder.iterdir() if path.suffix in (".cpp", ".h", ".inl"))
    digests = (hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


_NO_VECTORS = (
    "this processor has neither AVX2 nor NEON with dot products: the CPU kernels run plain loops, "
    "which are slower, with 8 bits many times"
)
_REBUILD = (
    "with CMake and a C++20 compiler (GCC 11 or Clang 14 and newer), `make cpu` in a checkout or "
    "`pip install --force-reinstall --no-deps ossia` elsewhere builds them"
)

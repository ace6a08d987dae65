"""Ceilings: how fast a device reads memory and multiplies matrices, measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from ossia.bench.timing import clock_seconds, graph_ms
from ossia.kernels.cpu import in_large_pages, load, num_threads
from ossia.machine import machine_memory

_CUDA_BYTES, _CPU_BYTES = 2 << 30, 1 << 30  # well above any cache
_CUDA_SIDE, _CPU_SIDE = 8192, 1024
_REPEATS = 7
_MOMENT_BYTES = 256 << 20  # read in some milliseconds
_MOMENT_REPEATS = 3
_AHEAD = (0, 4096)  # bytes that the kernels' loop fetches ahead; the better one differs


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a device allows.

    Args:
        read_bandwidth: Bytes a second.
        matrix_rate: Floating-point operations a second of a large bfloat16 product, two for each
            multiplication that is added up.
    """

    read_bandwidth: float
    matrix_rate: float


def measure_ceilings(device: torch.device) -> Ceilings:
    """Measure both, which takes a second or two."""
    return Ceilings(read_bandwidth(device), matrix_rate(device))


def read_bandwidth(device: torch.device, nbytes: int | None = None) -> float:
    """Bytes a second of a plain reduction.

    On CUDA the median of a graph's replays. On the CPU by torch's threads, and the best of seven:
    whatever else runs there only takes away.

    Args:
        device: Whose memory is read.
        nbytes: Of the buffer; None takes 2 GiB on CUDA, and on the CPU 1 GiB or a quarter of what is
            free.
    """
    if device.type == "cuda":
        values = torch.ones((nbytes or _CUDA_BYTES) // 4, dtype=torch.float32, device=device)
        return values.nbytes / (graph_ms(values.sum) * 1e-3)
    free = machine_memory()[0].free_bytes
    values = torch.ones((nbytes or min(_CPU_BYTES, free // 4)) // 4, dtype=torch.float32)
    values = in_large_pages(values)  # as weights are
    return values.nbytes / min(clock_seconds(values.sum, _REPEATS))


class CpuReads:
    """How fast a CPU reads its memory at a moment.

    Where others use the same memory, or a hypervisor moves cores about, this changes from one second
    to the next by a factor of two. What is compared with it has to be measured beside it.

    Args:
        nbytes: Of the buffer, which no cache should hold.
    """

    def __init__(self, nbytes: int = _MOMENT_BYTES) -> None:
        self._values = in_large_pages(torch.ones(nbytes // 4, dtype=torch.float32))

    def now(self) -> float:
        """Bytes a second of the fastest of some reads, by the kernels' loop, else by torch's sum."""
        kernels, values = load(), self._values
        if kernels is None:
            return values.nbytes / min(clock_seconds(values.sum, _MOMENT_REPEATS))
        reads = [partial(kernels.read, values, num_threads(), ahead=ahead) for ahead in _AHEAD]
        return values.nbytes / min(
            seconds for read in reads for seconds in clock_seconds(read, _MOMENT_REPEATS)
        )


def matrix_rate(device: torch.device, side: int | None = None) -> float:
    """Operations a second of a square bfloat16 product; median on CUDA, best of seven on the CPU.

    Args:
        device: That multiplies.
        side: Rows and columns; None takes 8,192 on CUDA and 1,024 on the CPU.
    """
    on_cuda = device.type == "cuda"
    side = side or (_CUDA_SIDE if on_cuda else _CPU_SIDE)
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    seconds = (
        graph_ms(lambda: a @ b) * 1e-3 if on_cuda else min(clock_seconds(lambda: a @ b, _REPEATS))
    )
    return 2 * side**3 / seconds

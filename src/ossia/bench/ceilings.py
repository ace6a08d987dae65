"""Ceilings: how fast a device reads memory and multiplies matrices, measured."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
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
_MOMENT_PIECES = 8
_MOMENT_REPEATS = 3
_PAGE = 4096
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

    Where others use the same memory, or a hypervisor moves cores and memory about, this changes from one
    second to the next by a factor of two, and one part of memory may be slower than another. What is compared with
    it has to be measured beside it, and over the same memory.

    Args:
        memory: Contiguous tensors, of which a few pieces anywhere are read; none: a buffer of its own.
        nbytes: To read, more than a cache holds.
        seed: Of the choice of pieces.
    """

    def __init__(
        self, memory: Sequence[torch.Tensor] = (), nbytes: int = _MOMENT_BYTES, *, seed: int = 0
    ) -> None:
        own = memory or (in_large_pages(torch.ones(nbytes // 4, dtype=torch.float32)),)
        self._bytes = [one.view(-1).view(torch.uint8) for one in own]
        self._nbytes, self._numbers = nbytes, random.Random(seed)

    def now(self) -> float:
        """Bytes a second of the fastest of some reads, by the kernels' loop, else by torch's sum."""
        kernels, pieces = load(), list(self._pieces())
        nbytes = sum(piece.nbytes for piece in pieces)

        def read(ahead: int) -> None:
            for piece in pieces:
                if kernels is None:
                    piece.view(torch.int32).sum()
                else:
                    kernels.read(piece, num_threads(), ahead=ahead)

        reads = [partial(read, ahead) for ahead in (_AHEAD if kernels is not None else (0,))]
        return nbytes / min(
            seconds for each in reads for seconds in clock_seconds(each, _MOMENT_REPEATS)
        )

    def _pieces(self) -> Iterator[torch.Tensor]:
        """Of random tensors, the larger the likelier, from random pages on; whole words."""
        left, sizes = self._nbytes, [one.nbytes for one in self._bytes]
        most = max(self._nbytes // _MOMENT_PIECES, _PAGE)
        while left > 0:
            (one,) = self._numbers.choices(self._bytes, sizes)
            size = min(left, most, one.nbytes)
            first = self._numbers.randrange(0, one.nbytes - size + 1, _PAGE)
            yield one[first : first + size // 4 * 4]
            left -= size


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

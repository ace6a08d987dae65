"""project_slab: bfloat16 matrices times few tokens, whose rows wait in shared memory; Hopper only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Slab, address
from ossia.kernels.decode.launching import COLUMNS, is_hopper, multiprocessors

SLAB_TOKENS = 16
"""At most."""
_STEP = 32  # k of a step
_WARPS, _ROWS, _TILES, _COLUMN, _MOST_STEPS = 15, 48, 3, 20, 9  # of slab.cu
_THREADS = (_WARPS + 1) * 32
_BESIDE = 21_000  # bytes that a block of attention.cu takes
_SHARED_BYTES = 232_448 - 256 - _BESIDE  # for rows
_GROUP_ROWS = 2  # of slab.cu
_FLIGHT_BYTES = 33_000  # on their way at once: enough for all the bandwidth, no more


def fits(tokens: int, k: int, rows: int, device: torch.device) -> bool:
    """Whether a device runs the kernel, and its multiprocessors have room for most of their rows."""
    if tokens > SLAB_TOKENS or not is_hopper(device):
        return False
    most = min(_ROWS, 2 * _held(k))
    return k // _STEP <= _WARPS * _MOST_STEPS and rows <= most * multiprocessors(device)


def project_slab(x: torch.Tensor, weights: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    """As `project`, in one part.

    Args:
        x: bfloat16 (tokens, k), which `fits`.
        weights: One to three bfloat16 (rows, k).
        out: float32 (tokens, all rows), all of it written.
    """
    tokens, k = x.shape
    rows, device = out.shape[1], x.device
    ends = list(accumulate(map(len, weights)))
    blocks = min(multiprocessors(device), rows)
    held = min(-(-rows // blocks), _held(k))
    arguments = Slab(
        w=tuple(address(weights[min(i, len(weights) - 1)]) for i in range(3)), x=address(x),
        y=address(out), row_end=tuple(ends[min(i, len(ends) - 1)] for i in range(3)), rows=rows,
        steps=k // _STEP, tokens=tokens, stride=_stride(k), held=held,
        flight=max(1, round(_FLIGHT_BYTES / (_GROUP_ROWS * 2 * k))),
    )  # fmt: skip
    columns = COLUMNS if tokens <= COLUMNS else 2 * COLUMNS
    shared = max(held * _stride(k), _WARPS * _TILES * columns * _COLUMN * 4)
    kernel = program("slab.cu", device)[f"slab_{columns}"]
    launch(kernel, (blocks, 1, 1), _THREADS, shared, arguments)


def _held(k: int) -> int:
    """Rows that a block has room for, in whole groups."""
    return _SHARED_BYTES // _stride(k) // _GROUP_ROWS * _GROUP_ROWS


def _stride(k: int) -> int:
    """Bytes from row to row: an odd number of 64, so that neighbours do not share their banks."""
    return (k // _STEP | 1) * 64

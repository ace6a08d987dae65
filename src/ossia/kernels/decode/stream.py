"""project_stream: a bfloat16 matrix of very many rows times some tokens, at the speed of memory; Hopper only."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Stream, address
from ossia.kernels.decode.launching import is_hopper, multiprocessors

STREAM_TOKENS = 32
"""At most."""
_LEAST_TOKENS = 3  # gemv.cu takes a quarter longer for 4, and as long for 2
_STEP = 32  # k of a step
_WARPS, _TILE, _MOST = 15, 8, 6  # of stream.cu
_SLOTS = {16: 4, 32: 2}  # by tokens: tiles of rows in shared memory, as in its last lines
_SHARED_BYTES = 232_448 - 256  # of a block
_TILES_OF_A_BLOCK = 32  # from which on it is worth its beginning


def fits(tokens: int, k: int, rows: int, device: torch.device) -> bool:
    """Whether a device runs the kernel, tokens are so many that it is worth it, its registers hold the operands, and there are rows enough."""
    return (
        _LEAST_TOKENS <= tokens <= STREAM_TOKENS
        and is_hopper(device)
        and k <= _WARPS * _MOST * _STEP
        and rows >= _TILES_OF_A_BLOCK * _TILE * multiprocessors(device)
        and _shared_bytes(_columns(tokens), k) <= _SHARED_BYTES
    )


def project_stream(x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
    """As `project`, of one matrix.

    Args:
        x: bfloat16 (tokens, k), which `fits`; k a multiple of 32.
        weight: bfloat16 (rows, k).
        out: float32 (tokens, rows), all of it written.
    """
    (tokens, k), (rows, _) = x.shape, weight.shape
    arguments = Stream(
        w=address(weight), x=address(x), y=address(out), rows=rows, steps=k // _STEP, tokens=tokens,
        stride=_stride(k),
    )  # fmt: skip
    columns = _columns(tokens)
    kernel = program("stream.cu", x.device)[f"stream_{columns}"]
    blocks = multiprocessors(x.device)
    launch(kernel, (blocks, 1, 1), (_WARPS + 1) * 32, _shared_bytes(columns, k), arguments)


def _columns(tokens: int) -> int:
    return next(columns for columns in _SLOTS if tokens <= columns)


def _shared_bytes(columns: int, k: int) -> int:
    rows = _SLOTS[columns] * _TILE * _stride(k)
    operands = (columns - 16) * 2 * k
    return rows + operands + 2 * _WARPS * columns * _TILE * 4


def _stride(k: int) -> int:
    """Bytes from row to row: an odd number of 64, so that neighbours do not share their banks."""
    return (k // _STEP | 1) * 64

"""project_slab: bfloat16 matrices times few tokens, whose rows wait in shared memory; Hopper only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Slab, address
from ossia.kernels.decode.launching import is_hopper, multiprocessors

SLAB_TOKENS = 32
"""At most."""
_STEP = 32  # k of a step
_ROWS, _TILES, _COLUMN, _GROUP_ROWS = 48, 3, 20, 2  # of slab.cu
_SHARED_BYTES = 232_448 - 256  # of a block, for rows
_FLIGHT_BYTES = 33_000  # on their way at once: enough for all the bandwidth, no more


@dataclass(frozen=True, slots=True)
class _Variant:
    """How a kernel of slab.cu was compiled; the numbers stand in its last lines, too.

    Args:
        tokens: At most.
        warps: Of a block, beside the one that copies.
        halves: Warps of a share of k.
        steps: Of a warp at most.
        beside: Bytes of shared memory left to other kernels' blocks: one of attention.cu.
        reuse: Whether the first rows' place is used twice.
    """

    tokens: int
    warps: int
    halves: int
    steps: int
    beside: int
    reuse: bool

    @property
    def shares(self) -> int:
        """Of k."""
        return self.warps // self.halves

    def held(self, k: int) -> int:
        """Rows that a block has room for, in whole groups."""
        return (_SHARED_BYTES - self.beside) // _stride(k) // _GROUP_ROWS * _GROUP_ROWS


_VARIANTS = (
    _Variant(8, 15, 1, 9, 21_000, reuse=True),
    _Variant(16, 15, 1, 9, 21_000, reuse=True),
    _Variant(32, 14, 2, 20, 0, reuse=False),
)


def fits(tokens: int, k: int, rows: int, device: torch.device) -> bool:
    """Whether a device runs the kernel, and its multiprocessors have room for most of their rows."""
    if tokens > SLAB_TOKENS or not is_hopper(device):
        return False
    variant = _variant(tokens)
    most = min(_ROWS, (2 if variant.reuse else 1) * variant.held(k))
    return k // _STEP <= variant.shares * variant.steps and rows <= most * multiprocessors(device)


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
    blocks, variant = min(multiprocessors(device), rows), _variant(tokens)
    held = min(-(-rows // blocks), variant.held(k))
    arguments = Slab(
        w=tuple(address(weights[min(i, len(weights) - 1)]) for i in range(3)), x=address(x),
        y=address(out), row_end=tuple(ends[min(i, len(ends) - 1)] for i in range(3)), rows=rows,
        steps=k // _STEP, tokens=tokens, stride=_stride(k), held=held,
        flight=max(1, round(_FLIGHT_BYTES / (_GROUP_ROWS * 2 * k))),
    )  # fmt: skip
    sums = variant.shares * _TILES * variant.tokens * _COLUMN * 4
    shared = max(held * _stride(k), sums)
    kernel = program("slab.cu", device)[f"slab_{variant.tokens}"]
    launch(kernel, (blocks, 1, 1), (variant.warps + 1) * 32, shared, arguments)


def _variant(tokens: int) -> _Variant:
    return next(one for one in _VARIANTS if tokens <= one.tokens)


def _stride(k: int) -> int:
    """Bytes from row to row: an odd number of 64, so that neighbours do not share their banks."""
    return (k // _STEP | 1) * 64

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
_COLUMN, _GROUP_ROWS = 20, 2  # of slab.cu
_SHARED_BYTES = 232_448 - 512  # of a block, beside the barriers
_BESIDE = 21_000  # bytes that a block of attention.cu takes
_FLIGHT_BYTES = 33_000  # on their way at once: enough for all the bandwidth, no more


@dataclass(frozen=True, slots=True)
class _Variant:
    """How a kernel of slab.cu was compiled; the numbers stand in its last lines, too.

    Args:
        name: Of the kernel.
        tokens: At most.
        warps: Of a block, beside the one that copies.
        halves: Warps of a share of k.
        steps: Of a warp at most.
        tiles: Of 16 rows, of a block at most.
        splits: Blocks that have the same rows, and addends of the product.
    """

    name: str
    tokens: int
    warps: int
    halves: int
    steps: int
    tiles: int
    splits: int

    @property
    def shares(self) -> int:
        """Of a block's k."""
        return self.warps // self.halves

    def stride(self, k: int) -> int:
        """Bytes from row to row: an odd number of 64, so that neighbours do not share their banks."""
        return (-(-k // _STEP // self.splits) | 1) * 64

    def held(self, k: int) -> int:
        """Rows that a block has room for, in whole groups, beside what may run with it."""
        beside = _BESIDE if self.splits == 1 else 0
        return (_SHARED_BYTES - beside) // self.stride(k) // _GROUP_ROWS * _GROUP_ROWS

    def fits(self, k: int, rows: int, blocks: int) -> bool:
        """Whether a product's rows have room in so many blocks; places of the first ones are used twice."""
        steps = -(-k // _STEP // self.splits)
        most = min(16 * self.tiles, 2 * self.held(k))
        return (
            k // _STEP >= self.splits
            and steps <= self.shares * self.steps
            and rows <= most * (blocks // self.splits)
        )


_VARIANTS = (
    _Variant("slab_8", 8, 15, 1, 9, 3, 1),
    _Variant("slab_16", 16, 15, 1, 9, 3, 1),
    _Variant(
        "slab_32", 32, 14, 2, 10, 3, 2
    ),  # so QKV, of more rows, is the vendor's, which is faster
)


def num_splits(tokens: int, k: int, rows: int, device: torch.device) -> int | None:
    """Addends that the kernel leaves of a product; None where a device or its shared memory does not do."""
    if tokens > SLAB_TOKENS or not is_hopper(device):
        return None
    variant = _variant(tokens, k, rows, multiprocessors(device))
    return None if variant is None else variant.splits


def project_slab(x: torch.Tensor, weights: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    """As `project`.

    Args:
        x: bfloat16 (tokens, k).
        weights: One to three bfloat16 (rows, k).
        out: float32 (`num_splits`, tokens, all rows), all of it written.
    """
    tokens, k = x.shape
    rows, device = out.shape[2], x.device
    variant = _variant(tokens, k, rows, multiprocessors(device))
    assert variant is not None
    assert len(out) == variant.splits, (out.shape, variant)
    ends = list(accumulate(map(len, weights)))
    blocks = min(multiprocessors(device) // variant.splits, rows)
    held = min(-(-rows // blocks), variant.held(k))
    stride = variant.stride(k)
    arguments = Slab(
        w=tuple(address(weights[min(i, len(weights) - 1)]) for i in range(3)), x=address(x),
        y=address(out), row_end=tuple(ends[min(i, len(ends) - 1)] for i in range(3)), rows=rows,
        steps=k // _STEP, tokens=tokens, stride=stride, held=held,
        flight=max(1, round(_FLIGHT_BYTES * variant.splits / (_GROUP_ROWS * 2 * k))),
    )  # fmt: skip
    sums = variant.shares * variant.tiles * variant.tokens * _COLUMN * 4
    kernel = program("slab.cu", device)[variant.name]
    grid = (blocks * variant.splits, 1, 1)
    launch(kernel, grid, (variant.warps + 1) * 32, max(held * stride, sums), arguments)


def _variant(tokens: int, k: int, rows: int, blocks: int) -> _Variant | None:
    return next(
        (one for one in _VARIANTS if tokens <= one.tokens and one.fits(k, rows, blocks)), None
    )

"""InterleavedMxfp4: packed experts in the order in which CPUs' vector units take them.

A tile is 16 rows. For each group of 32 columns it has 256 bytes of codes and then its next group: four
words for each row, a word for 8 columns, the same word of all 16 rows side by side. Byte i of a word
holds column i in its lower and column i + 4 in its upper half, so that a mask and a shift give two
vectors of four columns for each row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.mxfp4.format import BYTES_PER_BLOCK, Mxfp4Tensor

TILE_ROWS = 16
_WORDS = 4
_CODE_BYTES = TILE_ROWS * BYTES_PER_BLOCK


class InterleavedMxfp4(NamedTuple):
    """Matrices of logical shape (experts, rows, columns).

    Args:
        blocks: uint8 (experts, tiles, groups, 256).
        scales: uint8 (experts, tiles, groups, 16).
        paired: Whether of two tiles one holds the even rows (gates) and the next the odd ones (ups)
            of 32, rather than 16 rows in order each.
    """

    blocks: torch.Tensor
    scales: torch.Tensor
    paired: bool

    def expert(self, idx: int) -> Mxfp4Tensor:
        """One expert's matrix in the checkpoint's order: blocks (rows, groups, 16)."""
        some = slice(idx, idx + 1)
        blocks, scales = deinterleave(
            InterleavedMxfp4(self.blocks[some], self.scales[some], self.paired)
        )
        return Mxfp4Tensor(blocks[0], scales[0])


def interleave(packed: Mxfp4Tensor, *, paired: bool) -> InterleavedMxfp4:
    """Bring checkpoint-order experts into tiles, with the CPU kernels where they are at hand.

    Args:
        packed: blocks (experts, rows, groups, 16) and scales (experts, rows, groups); rows is a
            multiple of 16, if paired of 32.
        paired: As in InterleavedMxfp4.
    """
    assert packed.scales.shape[1] % (2 * TILE_ROWS if paired else TILE_ROWS) == 0
    kernels = load()
    if kernels is None or packed.blocks.device.type != "cpu":
        return interleave_by_torch(packed, paired=paired)
    blocks, scales = (part.contiguous() for part in packed)
    experts, rows, groups = scales.shape
    tiles = (experts, rows // TILE_ROWS, groups)
    codes = torch.empty((*tiles, _CODE_BYTES), dtype=torch.uint8)
    tile_scales = torch.empty((*tiles, TILE_ROWS), dtype=torch.uint8)
    kernels.call(
        "ossia_interleave",
        *(blocks.data_ptr(), scales.data_ptr(), experts, rows, groups, int(paired)),
        *(codes.data_ptr(), tile_scales.data_ptr(), num_threads()),
    )
    return InterleavedMxfp4(codes, tile_scales, paired)


def interleave_by_torch(packed: Mxfp4Tensor, *, paired: bool) -> InterleavedMxfp4:
    """What `interleave` gives, with torch operations."""
    blocks, scales = packed
    experts, rows, groups = scales.shape
    columns = torch.stack((blocks & 15, blocks >> 4), dim=-1)  # (experts, rows, groups, 16, 2)
    columns = columns.view(experts, rows, groups, _WORDS, 2, 4)
    words = columns[..., 0, :] | (columns[..., 1, :] << 4)  # (experts, rows, groups, words, 4)
    words, scales = (_in_tiles(part, paired) for part in (words, scales))
    # (experts, tiles, tile rows, groups, words, 4) to (experts, tiles, groups, words, tile rows, 4)
    codes = words.permute(0, 1, 3, 4, 2, 5).flatten(3)
    return InterleavedMxfp4(codes.contiguous(), scales.transpose(2, 3).contiguous(), paired)


def deinterleave(tiles: InterleavedMxfp4) -> Mxfp4Tensor:
    """The reverse of `interleave`."""
    experts, num_tiles, groups, _ = tiles.blocks.shape
    words = tiles.blocks.view(experts, num_tiles, groups, _WORDS, TILE_ROWS, 4)
    words = words.permute(0, 1, 4, 2, 3, 5)  # (experts, tiles, tile rows, groups, words, 4)
    columns = torch.stack((words & 15, words >> 4), dim=-2)  # (..., words, 2, 4)
    pairs = columns.reshape(*columns.shape[:4], BYTES_PER_BLOCK, 2)
    blocks = pairs[..., 0] | (pairs[..., 1] << 4)
    scales = tiles.scales.transpose(2, 3)
    return Mxfp4Tensor(*(_in_rows(part, tiles.paired) for part in (blocks, scales)))


def _in_tiles(rows: torch.Tensor, paired: bool) -> torch.Tensor:
    """(experts, rows, ...) to (experts, tiles, 16, ...)."""
    if not paired:
        return rows.unflatten(1, (-1, TILE_ROWS))
    pairs = rows.unflatten(1, (-1, TILE_ROWS, 2))  # (experts, pairs of tiles, 16, 2, ...)
    return pairs.transpose(2, 3).flatten(1, 2)


def _in_rows(tiles: torch.Tensor, paired: bool) -> torch.Tensor:
    """The reverse of `_in_tiles`, contiguous."""
    if not paired:
        return tiles.flatten(1, 2).contiguous()
    pairs = tiles.unflatten(1, (-1, 2))  # (experts, pairs of tiles, 2, 16, ...)
    return pairs.transpose(2, 3).flatten(1, 3).contiguous()

"""RelaidMxfp4: packed experts in the order in which tensor cores take them.

A unit is 16 rows by 64 columns: 512 bytes of codes that lie together, and 32 bytes of scales. Lane
4 r + q of a warp reads 16 bytes: for each half of the unit (32 columns, one scale block) and each of
two instructions one word. Its low 16 bits hold the even columns of the operand's four registers, its
high ones the odd columns: row r, row r + 8, row r two columns on, row r + 8 two columns on. Within its
half a lane has columns 8 q to 8 q + 7. Columns are filled up with zeros to a multiple of 64.

The four codes do not lie side by side: their bits are where a shift and a mask move sign and magnitude
to the places of a bfloat16's sign, last two exponent bits and first mantissa bit, at once for three of
them (sign and magnitude at 15 and 8-6, 12 and 5-3, 9 and 2-0; the fourth takes what is left).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ossia.kernels.mxfp4.format import BLOCK_SIZE, BYTES_PER_BLOCK, Mxfp4Tensor

TILE_ROWS = 16
UNIT_COLUMNS = 64
_UNIT_GROUPS = UNIT_COLUMNS // BLOCK_SIZE
_EXPERTS_AT_ONCE = 4  # bounds what relaying needs beside the tensors themselves


class RelaidMxfp4(NamedTuple):
    """Matrices of logical shape (experts, rows, columns).

    Args:
        blocks: uint8 (experts, tiles, units, 512).
        scales: uint8 (experts, tiles, units, 32).
        columns: Before they were filled up.
        paired: Whether a tile is 8 even rows above the 8 odd ones between them (gates above their
            ups), rather than 16 rows in order.
    """

    blocks: torch.Tensor
    scales: torch.Tensor
    columns: int
    paired: bool

    def expert(self, idx: int) -> Mxfp4Tensor:
        """One expert's matrix in the checkpoint's order: blocks (rows, groups, 16)."""
        one = RelaidMxfp4(
            self.blocks[idx : idx + 1], self.scales[idx : idx + 1], self.columns, self.paired
        )
        blocks, scales = restore(one)
        return Mxfp4Tensor(blocks[0], scales[0])


def whole_units(columns: int) -> int:
    """Columns filled up to whole units."""
    return -(-columns // UNIT_COLUMNS) * UNIT_COLUMNS


def relay(packed: Mxfp4Tensor, *, paired: bool) -> RelaidMxfp4:
    """Bring checkpoint-order experts into the order of the tensor cores.

    Args:
        packed: blocks (experts, rows, groups, 16), rows a multiple of 16.
        paired: As in RelaidMxfp4.

    Returns:
        New tensors on the same device.

    Raises:
        ValueError: rows is no multiple of 16.
    """
    experts, rows, groups = packed.scales.shape
    if rows % TILE_ROWS:
        raise ValueError(f"{rows} rows are no multiple of {TILE_ROWS}")
    tiles, units = rows // TILE_ROWS, -(-groups // _UNIT_GROUPS)
    device = packed.blocks.device
    blocks = torch.empty(experts, tiles, units, 512, dtype=torch.uint8, device=device)
    scales = torch.empty(experts, tiles, units, 32, dtype=torch.uint8, device=device)
    for start in range(0, experts, _EXPERTS_AT_ONCE):
        some = slice(start, start + _EXPERTS_AT_ONCE)
        blocks[some] = _relay_blocks(packed.blocks[some], units, paired)
        scales[some] = _relay_scales(packed.scales[some], units, paired)
    return RelaidMxfp4(blocks, scales, groups * BLOCK_SIZE, paired)


def restore(relaid: RelaidMxfp4) -> Mxfp4Tensor:
    """The reverse of `relay`, byte for byte."""
    experts, tiles, units, _ = relaid.blocks.shape
    groups = relaid.columns // BLOCK_SIZE
    shape = (experts, tiles, units, 8, 4, 2, 2)  # ..., r, q, half, instruction
    even, odd = relaid.blocks.view(torch.int16).view(*shape, 2).int().unbind(-1)
    codes = zip(_gathered(even), _gathered(odd), strict=True)
    a, b, c, d = ((low | high << 4).to(torch.uint8) for low, high in codes)
    pairs = torch.stack((torch.stack((a, c), -1), torch.stack((b, d), -1)), -2)
    # (experts, tiles, units, r, q, half, instruction, row half, pair)
    order = (0, 1, 3, 7, 2, 5, 4, 6, 8) if relaid.paired else (0, 1, 7, 3, 2, 5, 4, 6, 8)
    blocks = pairs.permute(order).reshape(experts, tiles * TILE_ROWS, -1, BYTES_PER_BLOCK)
    scales = relaid.scales.view(experts, tiles, units, 8, 2, 2)  # ..., r, row half, half
    order = (0, 1, 3, 4, 2, 5) if relaid.paired else (0, 1, 4, 3, 2, 5)
    scales = scales.permute(order).reshape(experts, tiles * TILE_ROWS, -1)
    return Mxfp4Tensor(blocks[:, :, :groups].contiguous(), scales[:, :, :groups].contiguous())


def _filled(packed: torch.Tensor, units: int) -> torch.Tensor:
    """Groups (dimension 2) filled up to whole units."""
    missing = units * _UNIT_GROUPS - packed.shape[2]
    if not missing:
        return packed
    return torch.cat((packed, packed.new_zeros(*packed.shape[:2], missing, *packed.shape[3:])), 2)


def _relay_blocks(blocks: torch.Tensor, units: int, paired: bool) -> torch.Tensor:
    experts, rows = blocks.shape[:2]
    tiled = (8, 2) if paired else (2, 8)
    # (experts, tiles, row half and r, units, half, q, instruction, pair)
    bytes_ = _filled(blocks, units).reshape(experts, rows // TILE_ROWS, *tiled, units, 2, 4, 2, 2)
    order = (0, 1, 4, 2, 6, 5, 7, 3, 8) if paired else (0, 1, 4, 3, 6, 5, 7, 2, 8)
    by_lane = bytes_.permute(
        order
    )  # (experts, tiles, units, r, q, half, instruction, row half, pair)
    first, second = by_lane.int().unbind(-1)
    registers = (*first.unbind(-1), *second.unbind(-1))  # row r, row r + 8, and two columns on
    even = _spread(*(pair & 15 for pair in registers))
    odd = _spread(*(pair >> 4 for pair in registers))
    words = torch.stack((even, odd), -1).to(torch.int16).view(torch.uint8)
    return words.reshape(experts, rows // TILE_ROWS, units, 512)


def _relay_scales(scales: torch.Tensor, units: int, paired: bool) -> torch.Tensor:
    experts, rows = scales.shape[:2]
    tiled = (8, 2) if paired else (2, 8)
    by_row = _filled(scales, units).reshape(experts, rows // TILE_ROWS, *tiled, units, 2)
    order = (0, 1, 4, 2, 3, 5) if paired else (0, 1, 4, 3, 2, 5)
    return by_row.permute(order).reshape(experts, rows // TILE_ROWS, units, 32)


def _spread(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Four codes to the 16 bits that hold them, int32."""
    low = (a & 7) << 6 | (b & 7) << 3 | (c & 7) | (d & 3) << 10 | (d & 4) << 11
    return low | (a & 8) << 12 | (b & 8) << 9 | (c & 8) << 6 | (d & 8) << 11


def _gathered(bits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The reverse of `_spread`, of int32."""
    return (
        (bits >> 6 & 7) | (bits >> 12 & 8),
        (bits >> 3 & 7) | (bits >> 9 & 8),
        (bits & 7) | (bits >> 6 & 8),
        (bits >> 10 & 3) | (bits >> 11 & 12),
    )

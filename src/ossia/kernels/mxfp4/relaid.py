"""RelaidMxfp4: packed experts in the order in which tensor cores take them.

A unit is 16 rows by 64 columns: 512 bytes of codes that lie together, and 32 bytes of scales. Lane
4 r + q of a warp reads 16 bytes: for each half of the unit (32 columns, one scale block) and each of
two instructions one word. It holds the operand's four registers, two columns each: row r, row r + 8, row r
two columns on, row r + 8 two columns on. Within its half a lane has columns 8 q to 8 q + 7. Columns are
filled up with zeros to a multiple of 64.

The eight codes do not lie side by side: their bits are where rotating and masking the word moves sign and
magnitude to the places of a bfloat16's sign, last two exponent bits and first mantissa bit, at once for both
columns and, in three of the registers, for all four bits. Of all layouts that have this, none takes less than
these two rotations for the fourth.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ossia.kernels.mxfp4.format import BLOCK_SIZE, BYTES_PER_BLOCK, Mxfp4Tensor

TILE_ROWS = 16
UNIT_COLUMNS = 64
_UNIT_GROUPS = UNIT_COLUMNS // BLOCK_SIZE
_ROTATIONS = (
    ((0, 15),),
    ((6, 15),),
    ((12, 15),),
    ((2, 11), (10, 4)),
)
"""By registers: how far a word is rotated to the left, for which of a code's bits."""
_PLACES = (6, 7, 8, 15)
"""Of a code's bits in a bfloat16, the lowest first; the second column's are 16 above."""
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
    words = relaid.blocks.view(torch.int32).view(shape)
    codes = (
        _gathered(words, register, 0) | _gathered(words, register, 1) << 4 for register in range(4)
    )
    a, b, c, d = (code.to(torch.uint8) for code in codes)
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
    words = torch.zeros_like(first[..., 0])
    for register, pair in enumerate(registers):
        _spread(words, pair & 15, register, 0)
        _spread(words, pair >> 4, register, 1)
    words = words.view(torch.uint8)
    return words.reshape(experts, rows // TILE_ROWS, units, 512)


def _relay_scales(scales: torch.Tensor, units: int, paired: bool) -> torch.Tensor:
    experts, rows = scales.shape[:2]
    tiled = (8, 2) if paired else (2, 8)
    by_row = _filled(scales, units).reshape(experts, rows // TILE_ROWS, *tiled, units, 2)
    order = (0, 1, 4, 2, 3, 5) if paired else (0, 1, 4, 3, 2, 5)
    return by_row.permute(order).reshape(experts, rows // TILE_ROWS, units, 32)


def _spread(words: torch.Tensor, codes: torch.Tensor, register: int, column: int) -> None:
    """Put codes, int32 like the words, where a register's first or second column has them."""
    for bits, shift in _moves(register, column):
        words |= (codes & bits) << shift


def _gathered(words: torch.Tensor, register: int, column: int) -> torch.Tensor:
    """The reverse of `_spread`, int32."""
    codes = torch.zeros_like(words)
    for bits, shift in _moves(register, column):
        codes |= (words >> shift) & bits
    return codes


def _moves(register: int, column: int) -> list[tuple[int, int]]:
    """Bits of a code and how far to the left they lie in the word."""
    moves: dict[int, int] = {}
    for rotation, taken in _ROTATIONS[register]:
        for bit, place in enumerate(_PLACES):
            if taken >> bit & 1:
                shift = (place + 16 * column - rotation) % 32 - bit
                moves[shift] = moves.get(shift, 0) | 1 << bit
    return [(bits, shift) for shift, bits in moves.items()]

"""Int8Matrix: weights of 8 bits in the order in which CPUs' vector units take them.

A tile is 16 rows. For each group of 32 columns it has 512 bytes and then its next group: four columns of
row 0, the same four of row 1, and so on to row 15, then the next four columns. A byte is the rounded
weight plus 128; times the scale of its row and group it is the weight.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

GROUP = 32
TILE_ROWS = 16
RAISE = 128
COLUMNS = 4  # of a row that lie side by side


class Int8Matrix(NamedTuple):
    """A matrix of logical shape (rows, columns).

    Args:
        codes: uint8 (rows / 16, columns / 32, 512).
        scales: bfloat16 (rows / 16, columns / 32, 16).
    """

    codes: torch.Tensor
    scales: torch.Tensor

    @property
    def rows(self) -> int:
        """Output features."""
        return self.codes.shape[0] * TILE_ROWS

    @property
    def columns(self) -> int:
        """Input features."""
        return self.codes.shape[1] * GROUP


def dequantize(matrix: Int8Matrix) -> torch.Tensor:
    """The weights that a matrix stands for: float32 (rows, columns)."""
    tiles, groups, _ = matrix.codes.shape
    whole = matrix.codes.view(tiles, groups, GROUP // COLUMNS, TILE_ROWS, COLUMNS).float() - RAISE
    scaled = whole * matrix.scales.float()[:, :, None, :, None]
    # (tiles, groups, fours, tile rows, 4) to (tiles, tile rows, groups, fours, 4)
    return scaled.permute(0, 3, 1, 2, 4).reshape(matrix.rows, matrix.columns)

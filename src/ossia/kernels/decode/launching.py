"""What the products of a decode step share: variants for 8 and 16 tokens, grids, shared memory."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program

MAX_TOKENS = 16
TILE_ROWS = 16
_LANES = 32


@dataclass(frozen=True, slots=True)
class Variant:
    """How a product was compiled; the numbers stand in the last lines of its source, too.

    Args:
        warps: Of a block.
        ahead: Units of weights on their way for each warp.
        blocks: That run side by side on a multiprocessor.
    """

    warps: int
    ahead: int
    blocks: int


VARIANTS = {
    "dense_8": Variant(4, 6, 2),
    "dense_16": Variant(8, 5, 1),
    "gate_up_8": Variant(12, 5, 2),
    "gate_up_16": Variant(16, 8, 1),
    "down_8": Variant(12, 4, 2),
    "down_16": Variant(16, 4, 1),
}


@dataclass(frozen=True, slots=True)
class Product:
    """A product for a number of tokens on a device: which variant, and how many blocks it takes.

    Args:
        file: Name of the source, and of the kernel without its number of columns.
        tokens: At most 16.
        device: Where it runs.
    """

    file: str
    tokens: int
    device: torch.device

    @property
    def columns(self) -> int:
        """Tokens that the compiled variant takes: 8 or 16."""
        assert 0 < self.tokens <= MAX_TOKENS, self.tokens
        return 8 if self.tokens <= 8 else 16

    @property
    def name(self) -> str:
        """The kernel's name."""
        return f"{self.file}_{self.columns}"

    @property
    def blocks(self) -> int:
        """As many as fill the device."""
        return multiprocessors(self.device) * VARIANTS[self.name].blocks

    def split_blocks(self, rows: int) -> int:
        """Blocks where tiles are split: at most two a tile, so that three parts suffice."""
        return min(self.blocks, 2 * -(-rows // TILE_ROWS))

    def launch(
        self, blocks: int, unit_bytes: int, operand_bytes: int, arguments: ctypes.Structure
    ) -> None:
        """Enqueue it.

        Args:
            blocks: Of the grid.
            unit_bytes: What a lane keeps of each unit on its way.
            operand_bytes: Shared memory for what the whole block reads.
            arguments: The kernel's.
        """
        variant = VARIANTS[self.name]
        shared = variant.warps * variant.ahead * _LANES * unit_bytes + operand_bytes
        kernel = program(f"{self.file}.cu", self.device)[self.name]
        launch(kernel, (blocks, 1, 1), variant.warps * _LANES, shared, arguments)


@cache
def multiprocessors(device: torch.device) -> int:
    """Of a device."""
    return torch.cuda.get_device_properties(device).multi_processor_count

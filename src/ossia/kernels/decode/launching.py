"""What the products of a few tokens share: how they were compiled, grids, shared memory."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.capability import nvidia_capability
from ossia.kernels.cuda.program import program

FEW_TOKENS = 4
"""What these products take; more tokens go to routed.py and to the vendor's products."""
COLUMNS = 8  # of an instruction
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
    "dense": Variant(4, 6, 2),
    "gate_up": Variant(12, 5, 2),
    "down": Variant(12, 4, 2),
}


@dataclass(frozen=True, slots=True)
class Product:
    """A product on a device: how many blocks it takes, and its launch.

    Args:
        name: Of the source and of the kernel.
        device: Where it runs.
    """

    name: str
    device: torch.device

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
        kernel = program(f"{self.name}.cu", self.device)[self.name]
        launch(kernel, (blocks, 1, 1), variant.warps * _LANES, shared, arguments)


def split_parts(rows: int, device: torch.device) -> int:
    """Addends of a product whose tiles are split: how many blocks a tile can belong to."""
    blocks = Product("dense", device).split_blocks(rows)
    return 2 if blocks <= -(-rows // TILE_ROWS) else 3


BLOCK_SHARED_BYTES = 232_448 - 3_072
"""Of a multiprocessor's shared memory what a block of Hopper's may ask for, beside what it always has."""


def is_hopper(device: torch.device) -> bool:
    """Whether a device has the copy engine's bulk copies and the products of warpgroups."""
    return nvidia_capability(device) == (9, 0)


@cache
def multiprocessors(device: torch.device) -> int:
    """Of a device."""
    return torch.cuda.get_device_properties(device).multi_processor_count

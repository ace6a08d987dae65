"""What the launches of a decode step share: programs, variants for 8 and 16 tokens, sizes of grids."""

from __future__ import annotations

import ctypes
from functools import cache

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program

MAX_TOKENS = 16
TILE_ROWS = 16
_THREADS = 512  # segments.cuh


def columns_of(tokens: int) -> int:
    """Tokens that the compiled variant takes: 8 or 16."""
    assert 0 < tokens <= MAX_TOKENS, tokens
    return 8 if tokens <= 8 else 16


def product_blocks(tokens: int, device: torch.device) -> int:
    """Blocks of a product that fill the device: their registers and operands allow so many."""
    return multiprocessors(device) * (2 if columns_of(tokens) == 8 else 1)


def split_blocks(tokens: int, rows: int, device: torch.device) -> int:
    """Blocks of a product whose tiles are split: no more than two a tile, so three parts suffice."""
    return min(product_blocks(tokens, device), 2 * -(-rows // TILE_ROWS))


def launch_product(
    file: str, kernel: str, blocks: int, shared_bytes: int, arguments: ctypes.Structure, tokens: int,
    device: torch.device,
) -> None:  # fmt: skip
    """Enqueue the variant of a product for so many tokens."""
    name = f"{kernel}_{columns_of(tokens)}"
    launch(program(file, device)[name], (blocks, 1, 1), _THREADS, shared_bytes, arguments)


@cache
def multiprocessors(device: torch.device) -> int:
    """Of a device."""
    return torch.cuda.get_device_properties(device).multi_processor_count

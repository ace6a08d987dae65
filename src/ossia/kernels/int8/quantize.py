"""From bfloat16 to 8 bits."""

from __future__ import annotations

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.int8.format import COLUMNS, GROUP, RAISE, TILE_ROWS, Int8Matrix

_LARGEST = 127


def quantize(weight: torch.Tensor) -> Int8Matrix:
    """Round a matrix to 8 bits, with the CPU kernels where they are at hand.

    A group's scale is its largest magnitude over 127, rounded up to bfloat16, so that each weight is
    off by half a scale at most. A group that is not finite gets the scale NaN.

    Args:
        weight: bfloat16 (rows, columns); rows is a multiple of 16, columns of 32.
    """
    kernels = load()
    if kernels is None or weight.device.type != "cpu":
        return quantize_by_torch(weight)
    weight = weight.contiguous()
    rows, columns = weight.shape
    tiles = (rows // TILE_ROWS, columns // GROUP)
    codes = torch.empty((*tiles, TILE_ROWS * GROUP), dtype=torch.uint8)
    scales = torch.empty((*tiles, TILE_ROWS), dtype=torch.bfloat16)
    kernels.call(
        "ossia_quantize",
        *(weight.data_ptr(), rows, columns, codes.data_ptr(), scales.data_ptr(), num_threads()),
    )
    return Int8Matrix(codes, scales)


def quantize_by_torch(weight: torch.Tensor) -> Int8Matrix:
    """What `quantize` gives, with torch operations."""
    grouped = weight.float().unflatten(1, (-1, GROUP))  # (rows, groups, 32)
    scales = _rounded_up(grouped.abs().amax(-1) / _LARGEST)
    step = scales.float().unsqueeze(-1)
    whole = torch.where(step > 0, (grouped / step).round(), 0.0)
    tiles = (whole + RAISE).to(torch.uint8).unflatten(0, (-1, TILE_ROWS))
    fours = tiles.unflatten(-1, (-1, COLUMNS))  # (tiles, tile rows, groups, fours, 4)
    codes = fours.permute(0, 2, 3, 1, 4).flatten(2).contiguous()
    return Int8Matrix(codes, scales.unflatten(0, (-1, TILE_ROWS)).transpose(1, 2).contiguous())


def _rounded_up(scales: torch.Tensor) -> torch.Tensor:
    """bfloat16, none smaller than the float32 that it was; NaN for what is not finite."""
    bits = scales.contiguous().view(torch.int32).to(torch.int64)
    rounded = ((bits + 0xFFFF) >> 16 << 16).to(torch.int32).view(torch.float32)
    return torch.where(scales.isfinite(), rounded, torch.nan).to(torch.bfloat16)

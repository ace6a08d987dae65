"""Rows of keys and values in 8 bits: integers, and behind them the float32 that they are multiples of.

One tensor holds both, so that whoever moves pages about need not know what is in them. A row's scale is
a 127th of its largest magnitude; the largest error is half of that.
"""

from __future__ import annotations

import torch

SCALE_BYTES = 4
_LEAST = 2.0**-121  # rows below it count as 0: 127 / x would overflow before long


def row_width(head_dim: int, dtype: torch.dtype) -> int:
    """Numbers of a head's key in a page of a dtype."""
    return head_dim + SCALE_BYTES if dtype is torch.int8 else head_dim


def quantize_rows(x: torch.Tensor) -> torch.Tensor:
    """Each row rounded to 8 bits, to nearest, ties to even.

    Args:
        x: (..., head_dim) floats. A row that is not finite becomes NaN.

    Returns:
        int8 (..., head_dim + 4).
    """
    wide = x.to(torch.float32)
    peak = wide.abs().amax(dim=-1, keepdim=True)
    inverse = torch.full_like(peak, 127.0) / peak  # 127.0 / peak would be rounded twice
    usable = (peak > _LEAST) & peak.isfinite()
    codes = (wide * inverse).round().where(usable, 0.0)
    scale = (peak / 127.0).where(peak.isfinite(), torch.nan)
    return torch.cat([codes.to(torch.int8), scale.contiguous().view(torch.int8)], dim=-1)


def dequantize_rows(rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The rows that `quantize_rows` was given, as far as they are still known.

    Args:
        rows: int8 (..., head_dim + 4).
        dtype: Any float dtype; rounded to from float32.

    Returns:
        (..., head_dim) of `dtype`.
    """
    codes, scales = rows[..., :-SCALE_BYTES], rows[..., -SCALE_BYTES:]
    aligned = scales.clone(memory_format=torch.contiguous_format)
    return (codes.to(torch.float32) * aligned.view(torch.float32)).to(dtype)

"""Linear layers with plain torch operations."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ossia.kernels.int8 import Int8Matrix, dequantize


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Rows times a transposed matrix, plus a bias.

    Args:
        x: (..., columns) of any float dtype.
        weight: (rows, columns).
        bias: (rows,) or None.

    Returns:
        (..., rows) of x's dtype.
    """
    return F.linear(x, weight, bias)


def linear_int8(x: torch.Tensor, weight: Int8Matrix, bias: torch.Tensor | None) -> torch.Tensor:
    """Rows times the transposed matrix that weights of 8 bits stand for, plus a bias.

    Takes and gives what `linear` does.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    shift = None if bias is None else bias.to(wide)
    return F.linear(x.to(wide), dequantize(weight).to(wide), shift).to(x.dtype)

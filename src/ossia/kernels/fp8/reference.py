"""Products with matrices in 8-bit floats, by plain torch operations."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ossia.kernels.fp8.format import Fp8Matrix, dequantize


def linear(x: torch.Tensor, matrix: Fp8Matrix, bias: torch.Tensor | None) -> torch.Tensor:
    """Rows times the transposed matrix that codes stand for, plus a bias.

    Args:
        x: (..., columns) of any float dtype.
        matrix: (rows, columns).
        bias: (rows,) or None.

    Returns:
        (..., rows) of x's dtype, computed in float32 at least.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    shift = None if bias is None else bias.to(wide)
    return F.linear(x.to(wide), dequantize(matrix).to(wide), shift).to(x.dtype)

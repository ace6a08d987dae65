"""Linear layers with plain torch operations."""

from __future__ import annotations

import torch
import torch.nn.functional as F


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

"""RMSNorm with plain torch operations."""

from __future__ import annotations

import torch


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Scale rows to unit root mean square, in float32 at least, the weight included.

    Args:
        x: (..., hidden) of any float dtype.
        weight: (hidden,).
        eps: Added to the mean square.

    Returns:
        (..., hidden) of x's dtype.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normed = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return (normed * weight).to(x.dtype)


def add_rms_norm(
    x: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is added to the residual stream, and the norm behind it.

    Args:
        x: (..., hidden) of any float dtype.
        delta: Like x.
        weight: (hidden,).
        eps: Added to the mean square.

    Returns:
        x + delta in x's dtype, and its `rms_norm`.
    """
    after = x + delta
    return after, rms_norm(after, weight, eps)

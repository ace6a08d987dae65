"""Rounding that training can see through: forward it rounds, backward it is the identity."""

from __future__ import annotations

import torch

LEVELS = 31  # integers from -31 to 31: six bits, five and a quarter after compression

_FP4_BLOCK = 32


def straight_through(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """The rounded values, with the gradient of the unrounded ones (Bengio et al. 2013, arXiv:1308.3432)."""
    return values + (rounded - values).detach()


def row_scales(values: torch.Tensor) -> torch.Tensor:
    """The step of each row's integers: its largest magnitude becomes LEVELS. (..., n) to (..., 1)."""
    return values.detach().abs().amax(-1, keepdim=True).clamp_min(1e-8) / LEVELS


def integer_rounded(values: torch.Tensor) -> torch.Tensor:
    """Values as integers times their row's scale; same shape."""
    scales = row_scales(values)
    return (values.detach() / scales).round() * scales


def mxfp4_rounded(values: torch.Tensor) -> torch.Tensor:
    """What `ossia.kernels.mxfp4` gives after packing and unpacking, in one piece a compiler can fuse.

    Args:
        values: (..., n), n a multiple of 32.

    Returns:
        The same shape; each block of 32 holds FP4 values times a power of two.
    """
    grouped = values.detach().unflatten(-1, (-1, _FP4_BLOCK))
    peak = grouped.abs().amax(-1, keepdim=True)
    # The scale puts the peak at 4 to 7: above 7 it would be clipped to 6 by more than a step.
    exponent = torch.floor(torch.log2(peak.clamp_min(2.0**-120))) - 2
    exponent = exponent + (peak > 7 * torch.exp2(exponent)).float()
    scale = torch.exp2(exponent)
    magnitude = (grouped / scale).abs()
    # FP4 steps: one half below 2, one below 4, two above.
    step = torch.where(magnitude < 2, 0.5, torch.where(magnitude < 4, 1.0, 2.0))
    rounded = (torch.round(magnitude / step) * step).clamp_max(6.0)
    return (torch.sign(grouped) * rounded * scale).flatten(-2)

"""YaRN rope with plain torch operations, halves rotated against each other (not interleaved)."""

from __future__ import annotations

import math

import torch


def yarn_inverse_frequencies(
    head_dim: int,
    theta: float,
    *,
    factor: float,
    beta_fast: float,
    beta_slow: float,
    original_context: int,
    truncate: bool,
) -> torch.Tensor:
    """Radians per position for each rotated pair (YaRN, section 3.2, "NTK-by-parts").

    Pairs that turn more than `beta_fast` times over the original context keep their frequency,
    those that turn less than `beta_slow` times are slowed by `factor`, a ramp joins them.

    Returns:
        float32 (head_dim / 2,).
    """
    pair = torch.arange(head_dim // 2, dtype=torch.float32)
    frequency = theta ** (-2.0 * pair / head_dim)
    if factor <= 1.0:
        return frequency

    def pair_that_turns(rotations: float) -> float:
        wavelengths = original_context / (rotations * 2.0 * math.pi)
        return head_dim * math.log(wavelengths) / (2.0 * math.log(theta))

    low, high = pair_that_turns(beta_fast), pair_that_turns(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0.0), min(high, head_dim - 1.0)
    ramp = ((pair - low) / max(high - low, 1e-3)).clamp(0.0, 1.0)
    return frequency / factor * ramp + frequency * (1.0 - ramp)


def rope_table(
    positions: torch.Tensor, inverse_frequencies: torch.Tensor, concentration: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of every position.

    Args:
        positions: (tokens,) integers.
        inverse_frequencies: float32 (head_dim / 2,).
        concentration: YaRN's attention temperature, multiplied into both.

    Returns:
        Two float32 (tokens, head_dim / 2).
    """
    angles = positions.to(torch.float32)[:, None] * inverse_frequencies[None, :]
    return angles.cos() * concentration, angles.sin() * concentration


def apply_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the first half of each head against the second, in float32 at least.

    Args:
        x: (tokens, heads, head_dim).
        cos: (tokens, head_dim / 2), as `sin`.
        sin: (tokens, head_dim / 2).

    Returns:
        (tokens, heads, head_dim) of x's dtype.
    """
    first, second = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, dim=-1)
    cos, sin = cos[:, None, :], sin[:, None, :]  # (tokens, 1, head_dim / 2)
    rotated = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat(rotated, dim=-1).to(x.dtype)

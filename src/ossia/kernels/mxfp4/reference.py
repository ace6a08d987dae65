"""Pack and unpack MXFP4 with plain torch operations; the definition of correct."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from ossia.kernels.mxfp4.format import (
    BLOCK_SIZE,
    BYTES_PER_BLOCK,
    MAGNITUDES,
    SCALE_BIAS,
    SCALE_NAN,
    Mxfp4Tensor,
)


def unpack(
    blocks: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype = torch.bfloat16
) -> torch.Tensor:
    """Expand packed bytes to floats.

    Args:
        blocks: uint8 (..., groups, 16).
        scales: uint8 (..., groups); 255 is NaN.
        dtype: Any float dtype. bfloat16 and wider hold every value exactly.

    Returns:
        (..., groups * 32) of `dtype`.
    """
    assert blocks.dtype == scales.dtype == torch.uint8, (blocks.dtype, scales.dtype)
    assert blocks.shape == (*scales.shape, BYTES_PER_BLOCK), (blocks.shape, scales.shape)
    device = blocks.device
    # float16 cannot hold 2**-127, so narrow dtypes are reached by one rounding at the end.
    wide = torch.promote_types(dtype, torch.bfloat16)
    pairs = _byte_to_pair(wide, device).index_select(0, blocks.reshape(-1).int())
    values = pairs.view(*blocks.shape[:-1], BLOCK_SIZE)  # (..., groups, 32)
    values.mul_(_power_of_two(wide, device)[scales.int()].unsqueeze(-1))
    return values.view(*scales.shape[:-1], -1).to(dtype)


def pack(values: torch.Tensor) -> Mxfp4Tensor:
    """Round floats to MXFP4, to nearest with ties to even.

    A block's scale puts its largest magnitude at 4 to 7 before rounding, so a tensor that came out
    of `unpack` keeps every value exactly (and every byte, where a block's largest code is 4 or 6).

    Args:
        values: (..., n) of a float dtype, n a multiple of 32, finite.

    Returns:
        blocks uint8 (..., n / 32, 16) and scales uint8 (..., n / 32).

    Raises:
        ValueError: the last dimension is no multiple of 32, or a value is not finite.
    """
    if values.shape[-1] % BLOCK_SIZE:
        raise ValueError(f"the last dimension is {values.shape[-1]}, no multiple of {BLOCK_SIZE}")
    grouped = values.detach().float().reshape(*values.shape[:-1], -1, BLOCK_SIZE)
    peak = grouped.abs().amax(dim=-1)  # (..., groups)
    if not torch.isfinite(peak).all():
        raise ValueError("MXFP4 cannot hold infinities or NaN")
    # frexp gives peak = mantissa * 2**exponent with mantissa in [0.5, 1): exact, unlike log2.
    mantissa, exponent = torch.frexp(peak)
    exponent = exponent - 3 + (mantissa > 7 / 8).int()
    exponent = exponent.clamp(-SCALE_BIAS, SCALE_NAN - 1 - SCALE_BIAS).masked_fill(peak == 0, 0)
    # Two factors, because 2**127 alone has no float32 inverse that is not subnormal.
    half = exponent // 2
    scaled = torch.ldexp(torch.ldexp(grouped, -half.unsqueeze(-1)), (half - exponent).unsqueeze(-1))
    codes = _nearest_code(scaled)
    low, high = codes[..., 0::2], codes[..., 1::2]
    return Mxfp4Tensor(low | (high << 4), (exponent + SCALE_BIAS).to(torch.uint8))


def _nearest_code(scaled: torch.Tensor) -> torch.Tensor:
    magnitude = scaled.abs()
    code = torch.zeros(scaled.shape, dtype=torch.uint8, device=scaled.device)
    for upper, (low, high) in enumerate(pairwise(MAGNITUDES), start=1):
        midpoint = (low + high) / 2
        # A tie goes to the even code: upwards exactly when the upper code is even.
        above = magnitude >= midpoint if upper % 2 == 0 else magnitude > midpoint
        code += above
    return code | (torch.signbit(scaled).to(torch.uint8) << 3)


def _byte_to_pair(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(256, 2): the even and the odd element that a byte holds."""
    values = torch.tensor([*MAGNITUDES, *(-m for m in MAGNITUDES)], dtype=dtype, device=device)
    byte = torch.arange(256, device=device)
    return torch.stack((values[byte & 15], values[byte >> 4]), dim=-1)


def _power_of_two(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(256,): the value of every scale byte."""
    powers = [math.ldexp(1.0, byte - SCALE_BIAS) for byte in range(SCALE_NAN)]
    return torch.tensor([*powers, math.nan], dtype=dtype, device=device)

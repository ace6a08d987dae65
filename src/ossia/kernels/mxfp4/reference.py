"""Pack and unpack MXFP4 with plain torch operations; the definition of correct."""

from __future__ import annotations

import math
import sys
from functools import cache
from itertools import pairwise

import numpy as np
import torch

from ossia.kernels.mxfp4.format import (
    BLOCK_SIZE,
    BYTES_PER_BLOCK,
    MAGNITUDES,
    SCALE_BIAS,
    SCALE_NAN,
    Mxfp4Tensor,
)

# The largest magnitude that still rounds to codes 0 to 6. A tie goes to the even code, so the
# midpoint below an even code belongs to the next float32 down.
_CODE_BOUNDARIES = tuple(
    float(np.nextafter(np.float32((low + high) / 2), np.float32(0)))
    if upper % 2 == 0
    else (low + high) / 2
    for upper, (low, high) in enumerate(pairwise(MAGNITUDES), start=1)
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
    # bfloat16 holds every MXFP4 value exactly, so one table serves all dtypes. Two bytes at a time
    # make it four elements a look-up, the fastest way that plain torch has.
    quads = blocks.contiguous().view(torch.uint16).to(torch.int32)  # (..., groups, 8)
    looked_up = _quad_values(blocks.device).index_select(0, quads.view(-1))
    values = looked_up.view(torch.bfloat16).view(*scales.shape, BLOCK_SIZE)
    values.mul_(_scale_values(blocks.device)[scales.int()].unsqueeze(-1))
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
    ones = torch.ones_like(peak)
    first, second = torch.ldexp(ones, -half), torch.ldexp(ones, half - exponent)
    codes = _nearest_code(grouped * first.unsqueeze(-1) * second.unsqueeze(-1))
    low, high = codes[..., 0::2], codes[..., 1::2]
    return Mxfp4Tensor(low | (high << 4), (exponent + SCALE_BIAS).to(torch.uint8))


def _nearest_code(scaled: torch.Tensor) -> torch.Tensor:
    boundaries = torch.tensor(_CODE_BOUNDARIES, dtype=scaled.dtype, device=scaled.device)
    magnitudes = scaled.abs().contiguous()  # bucketize warns of anything else
    code = torch.bucketize(magnitudes, boundaries, out_int32=True).to(torch.uint8)
    return code | (torch.signbit(scaled).to(torch.uint8) << 3)


@cache
def _quad_values(device: torch.device) -> torch.Tensor:
    """(65536,): the four bfloat16 elements that two bytes hold, as the bits of one int64."""
    codes = torch.tensor([*MAGNITUDES, *(-m for m in MAGNITUDES)], dtype=torch.bfloat16)
    first, second = torch.arange(1 << 16) & 255, torch.arange(1 << 16) >> 8
    places = (first & 15, first >> 4, second & 15, second >> 4)
    if sys.byteorder == "big":  # the two bytes were read the other way round
        places = (*places[2:], *places[:2])
    return (
        torch.stack([codes[place] for place in places], dim=-1)
        .view(torch.int64)
        .view(-1)
        .to(device)
    )


@cache
def _scale_values(device: torch.device) -> torch.Tensor:
    """(256,): the power of two that each scale byte means."""
    powers = [math.ldexp(1.0, byte - SCALE_BIAS) for byte in range(SCALE_NAN)]
    return torch.tensor([*powers, math.nan], dtype=torch.bfloat16, device=device)

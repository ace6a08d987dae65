"""Mxfp4Tensor: the pair of byte tensors that a packed matrix consists of."""

from __future__ import annotations

from typing import NamedTuple

import torch

BLOCK_SIZE = 32
BYTES_PER_BLOCK = BLOCK_SIZE // 2
SCALE_BIAS = 127
SCALE_NAN = 255
# E2M1 magnitudes by code; bit 3 is the sign, so codes 8-15 are the negatives.
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


class Mxfp4Tensor(NamedTuple):
    """A packed tensor of logical shape (..., groups * 32).

    Args:
        blocks: uint8 (..., groups, 16).
        scales: uint8 (..., groups).
    """

    blocks: torch.Tensor
    scales: torch.Tensor

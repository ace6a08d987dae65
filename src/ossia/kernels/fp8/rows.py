"""Keys and values in e4m3 (`format.py`), without a scale.

Each number has an exponent of its own, so a scale for each row would help only what lies below 2^-6, where
fractions lose bits, or above 448, where numbers end; benchmarks/gpu_precision.py says how much of a model's
does. So a head's row is its numbers and nothing else: 64 bytes for 64 of them, aligned as they come, exactly
half of what bfloat16 takes. What is larger than 448 becomes 448, infinity too; NaN stays NaN.
"""

from __future__ import annotations

import torch

from ossia.kernels.cuda.capability import nvidia_capability
from ossia.kernels.fp8.format import LARGEST

FP8 = torch.float8_e4m3fn


def has_fp8(device: torch.device) -> bool:
    """Whether Triton makes such numbers of bfloat16, and bfloat16 of them, on a device."""
    return (nvidia_capability(device) or (0, 0)) >= (9, 0)


def to_fp8(x: torch.Tensor) -> torch.Tensor:
    """Numbers rounded to nearest, ties to even; those beyond the largest become it.

    Args:
        x: Floats of any dtype.
    """
    return x.clamp(-LARGEST, LARGEST).to(FP8)

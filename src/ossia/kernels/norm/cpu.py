"""RMSNorm by the CPU kernels."""

from __future__ import annotations

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.kernel_library import TYPES


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """As `reference.rms_norm`; no gradients.

    Args:
        x: (..., hidden), float32 or bfloat16, contiguous, on the CPU.
        weight: (hidden,) of x's dtype, contiguous.
        eps: Added to the mean square.
    """
    kernels = load()
    assert kernels is not None
    out = torch.empty_like(x)
    columns = x.shape[-1]
    kernels.call(
        "ossia_rms_norm",
        *(x.data_ptr(), weight.data_ptr(), eps, out.data_ptr()),
        *(x.numel() // columns, columns, TYPES[x.dtype], num_threads()),
    )
    return out

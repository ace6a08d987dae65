"""RMSNorm in one pass over memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """As `reference.rms_norm`; no gradients.

    Args:
        x: (rows, hidden), contiguous.
        weight: (hidden,).
        eps: Added to the mean square.
    """
    out = torch.empty_like(x)
    rows, hidden = x.shape
    _norm_kernel[(rows,)](
        x, weight, out, eps, HIDDEN=hidden, COLUMNS=triton.next_power_of_2(hidden), num_warps=8
    )
    return out


def add_rms_norm(
    x: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `reference.add_rms_norm`; no gradients.

    Args:
        x: (rows, hidden), contiguous.
        delta: Like x.
        weight: (hidden,).
        eps: Added to the mean square.
    """
    after, out = torch.empty_like(x), torch.empty_like(x)
    rows, hidden = x.shape
    _add_norm_kernel[(rows,)](
        x, delta, weight, after, out, eps,
        HIDDEN=hidden, COLUMNS=triton.next_power_of_2(hidden), num_warps=8,
    )  # fmt: skip
    return after, out


@triton.jit
def _add_norm_kernel(
    x_ptr,
    delta_ptr,
    weight_ptr,
    after_ptr,
    out_ptr,
    eps,
    HIDDEN: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    columns = tl.arange(0, COLUMNS)
    inside = columns < HIDDEN
    at = tl.program_id(0).to(tl.int64) * HIDDEN + columns
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    delta = tl.load(delta_ptr + at, mask=inside, other=0.0).to(tl.float32)
    after = (x + delta).to(after_ptr.dtype.element_ty)
    tl.store(after_ptr + at, after, mask=inside)
    x = after.to(tl.float32)  # rounded, as it is kept
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 0) / HIDDEN + eps)
    tl.store(out_ptr + at, (x * scale * weight).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _norm_kernel(x_ptr, weight_ptr, out_ptr, eps, HIDDEN: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    inside = columns < HIDDEN
    at = tl.program_id(0).to(tl.int64) * HIDDEN + columns
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 0) / HIDDEN + eps)
    tl.store(out_ptr + at, (x * scale * weight).to(out_ptr.dtype.element_ty), mask=inside)

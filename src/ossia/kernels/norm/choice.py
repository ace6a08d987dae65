"""rms_norm and add_rms_norm: the fastest implementations that take these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch

from ossia.kernels.backend import choose
from ossia.kernels.norm import cpu, reference

_MAX_HIDDEN = 8192  # a program holds a row


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """As `reference.rms_norm` defines it."""
    if _takes_triton(x):
        from ossia.kernels.norm import triton_norm

        with torch.cuda.device_of(x):  # Triton launches on the current device
            return triton_norm.rms_norm(x, weight, eps)
    if (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and x.device.type == weight.device.type == "cpu"
        # In float32 a pass without gradients gives bit for bit what one with gradients does.
        and x.dtype is weight.dtype is torch.bfloat16
        and x.is_contiguous()
        and weight.is_contiguous()
        and x.numel() > 0
        and type(x) is torch.Tensor
        and _chosen(x.device) == "cpu"
    ):
        return cpu.rms_norm(x, weight, eps)
    return reference.rms_norm(x, weight, eps)


def add_rms_norm(
    x: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `reference.add_rms_norm` defines it."""
    if _takes_triton(x) and delta.is_contiguous() and delta.dtype is x.dtype:
        from ossia.kernels.norm import triton_norm

        with torch.cuda.device_of(x):
            return triton_norm.add_rms_norm(x, delta, weight, eps)
    after = x + delta
    return after, rms_norm(after, weight, eps)


def _takes_triton(x: torch.Tensor) -> bool:
    return (
        x.is_cuda
        and x.dim() == 2
        and x.is_contiguous()
        and x.dtype in (torch.bfloat16, torch.float16)
        and 0 < x.shape[1] <= _MAX_HIDDEN
        and len(x) > 0
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and _chosen(x.device) == "triton"
    )


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("norm", device).chosen.name

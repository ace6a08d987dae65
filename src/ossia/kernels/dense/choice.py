"""linear and linear_int8: the fastest implementation that takes these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch

from ossia.kernels.backend import choose
from ossia.kernels.dense import cpu, reference
from ossia.kernels.int8 import Int8Matrix

_FEW_TOKENS = 8  # torch's matrix products catch up with the kernel's at about so many


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """As `reference.linear` defines it."""
    if (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and x.device.type == weight.device.type == "cpu"
        and x.dtype is weight.dtype is torch.bfloat16
        and x.dim() == 2
        and 0 < len(x) <= _FEW_TOKENS
        and weight.is_contiguous()
        and (bias is None or (bias.dtype is torch.bfloat16 and bias.is_contiguous()))
        and type(x) is torch.Tensor
        and _chosen(x.device) == "cpu"
    ):
        return cpu.linear(x, weight, bias)
    return reference.linear(x, weight, bias)


def linear_int8(
    x: torch.Tensor, weight: Int8Matrix, bias: torch.Tensor | None, *, int8_activations: bool
) -> torch.Tensor:
    """As `reference.linear_int8` defines it; the kernels round x too if `int8_activations` says so."""
    if (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype is torch.bfloat16
        and x.dim() == 2
        and len(x) > 0
        and (bias is None or (bias.dtype is torch.bfloat16 and bias.is_contiguous()))
        and _chosen(x.device) == "cpu"
    ):
        return cpu.linear_int8(x, weight, bias, int8_activations=int8_activations)
    return reference.linear_int8(x, weight, bias)


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("dense", device).chosen.name

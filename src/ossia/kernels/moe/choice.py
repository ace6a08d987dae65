"""run_experts: the fastest implementation that takes these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch

from ossia.kernels.backend import choose
from ossia.kernels.moe import opaque, reference
from ossia.kernels.moe.reference import ExpertWeights
from ossia.kernels.mxfp4 import Mxfp4Tensor

_DECODE_TOKENS = 16  # what `triton_decode` takes; named here so that asking loads no triton


def run_experts(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """Send every token through its experts and add up what they say, as `reference` defines it.

    Takes and gives what `ossia.kernels.moe.reference.run_experts` does.
    """
    if torch.compiler.is_compiling():
        return opaque.run_experts(x, expert_ids, weights, experts)
    if _decodes(x, experts):
        from ossia.kernels.moe import triton_decode

        return triton_decode.run_experts(x, expert_ids, weights, experts)
    return reference.run_experts(x, expert_ids, weights, experts)


def _decodes(x: torch.Tensor, experts: ExpertWeights) -> bool:
    packed = isinstance(experts.gate_up, Mxfp4Tensor) and isinstance(experts.down, Mxfp4Tensor)
    return (
        packed
        and experts.gate_up_bias.device == x.device
        and x.dtype is torch.bfloat16
        and 0 < x.shape[0] <= _DECODE_TOKENS
        and not torch.is_grad_enabled()
        and _chosen(x.device) == "triton"
    )


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("moe", device).chosen.name

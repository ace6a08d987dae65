"""run_experts: the fastest implementation that takes these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch

from ossia.kernels.backend import choose
from ossia.kernels.moe import cpu, opaque, reference
from ossia.kernels.moe.reference import ExpertWeights
from ossia.kernels.mxfp4 import InterleavedMxfp4, Mxfp4Tensor, RelaidMxfp4
from ossia.kernels.routing import route

_DECODE_TOKENS = 16  # what `triton_decode` takes; named here so that asking loads no triton


def route_and_run(
    x: torch.Tensor, logits: torch.Tensor, top_k: int, experts: ExpertWeights
) -> torch.Tensor:
    """Choose every token's experts by the router's logits and send it through them.

    Args:
        x: (tokens, hidden).
        logits: (tokens, experts).
        top_k: Experts a token.
        experts: The layer's expert weights.

    Returns:
        (tokens, hidden), as kernels.routing.route and `run_experts` give it.
    """
    if not torch.compiler.is_compiling() and _is_relaid(x, experts):
        from ossia.kernels.moe import cuda_many

        with torch.cuda.device_of(x):  # kernels start on the current device
            return cuda_many.route_and_run(x, logits, top_k, experts)
    weights, expert_ids = route(logits, top_k)  # (tokens, top_k) both
    return run_experts(x, expert_ids, weights, experts)


def run_experts(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """Send every token through its experts and add up what they say, as `reference` defines it.

    Takes and gives what `ossia.kernels.moe.reference.run_experts` does.
    """
    if torch.compiler.is_compiling():
        return opaque.run_experts(x, expert_ids, weights, experts)
    if _is_relaid(x, experts):
        from ossia.kernels.moe import cuda_many

        with torch.cuda.device_of(x):
            return cuda_many.run_experts(x, expert_ids, weights, experts)
    if _decodes(x, experts):
        from ossia.kernels.moe import triton_decode

        with torch.cuda.device_of(x):
            return triton_decode.run_experts(x, expert_ids, weights, experts)
    if _is_interleaved(x, experts):
        return cpu.run_experts(x, expert_ids, weights, experts)
    return reference.run_experts(x, expert_ids, weights, experts)


def _decodes(x: torch.Tensor, experts: ExpertWeights) -> bool:
    packed = isinstance(experts.gate_up, Mxfp4Tensor) and isinstance(experts.down, Mxfp4Tensor)
    return (
        packed
        and experts.gate_up_bias.device == x.device
        and x.dtype is torch.bfloat16
        and 0 < x.shape[0] <= _DECODE_TOKENS
        and not torch.is_grad_enabled()
        and _chosen(x.device) in ("cuda", "triton")
    )


def _is_relaid(x: torch.Tensor, experts: ExpertWeights) -> bool:
    """Weights that were relaid for CUDA's kernels, and tokens that these take."""
    return (
        isinstance(experts.gate_up, RelaidMxfp4)
        and isinstance(experts.down, RelaidMxfp4)
        and experts.gate_up_bias.device == x.device
        and experts.gate_up_bias.dtype is x.dtype is torch.bfloat16
        and len(x) > 0
        and not torch.is_grad_enabled()
        and _chosen(x.device) == "cuda"
    )


def _is_interleaved(x: torch.Tensor, experts: ExpertWeights) -> bool:
    """Weights that were interleaved for the CPU kernels, and tokens that these take."""
    return (
        isinstance(experts.gate_up, InterleavedMxfp4)
        and isinstance(experts.down, InterleavedMxfp4)
        and x.device.type == experts.gate_up_bias.device.type == "cpu"
        and experts.gate_up_bias.dtype is x.dtype
        and x.dtype in cpu.DTYPES
        and len(x) > 0
        and not torch.is_grad_enabled()
        and _chosen(x.device) == "cpu"
    )


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("moe", device).chosen.name

"""The expert layer with what enters its products in 8-bit floats, for long prompts: less precise, for less arithmetic.

Experts are a second copy in e4m3, whose scales for each row are powers of two. An MXFP4 number is a code, which e4m3 has,
times its block's power of two; so the copy is exact but where a block's scale is more than 2^14 below its row's greatest. What
is rounded is what enters the products.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ossia.kernels.fp8.scaled import ScaledFp8, grouped_product, round_rows
from ossia.kernels.moe.reference import ExpertWeights, clamped_swiglu


class RoundedExperts(NamedTuple):
    """A layer's experts in e4m3.

    Args:
        gate_up: (experts, 2 ffn, hidden), gate and up rows in turn.
        down: (experts, hidden, ffn).
    """

    gate_up: ScaledFp8
    down: ScaledFp8


def run_rounded(
    x: torch.Tensor,
    expert_ids: torch.Tensor,
    weights: torch.Tensor,
    rounded: RoundedExperts,
    experts: ExpertWeights,
) -> torch.Tensor:
    """As `reference.run_experts`; no gradients.

    Args:
        x: bfloat16 (tokens, hidden).
        expert_ids: int64 (tokens, top_k).
        weights: (tokens, top_k).
        rounded: On x's device.
        experts: What they are a copy of, for biases and the activation.
    """
    top_k, num_experts = expert_ids.shape[1], len(experts.down_bias)
    ids, order = torch.sort(expert_ids.flatten(), stable=True)  # (slots,) both
    numbers = torch.arange(num_experts, device=x.device)
    ends = torch.searchsorted(ids, numbers, right=True, out_int32=True)  # (experts,)
    rows = round_rows(x).rows(order // top_k)
    said = grouped_product(rows, rounded.gate_up, ends)
    inner = _activate(said, ids, experts)
    said = grouped_product(inner, rounded.down, ends)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=x.device)
    if said.is_cuda:
        from ossia.kernels.moe import triton_rows

        return triton_rows.combine(said, places, expert_ids, weights, experts.down_bias)
    slots = (said + experts.down_bias[ids])[places].view(*expert_ids.shape, -1)
    return (slots.float() * weights.float()[..., None]).sum(1).to(x.dtype)


def _activate(said: torch.Tensor, ids: torch.Tensor, experts: ExpertWeights) -> ScaledFp8:
    bias, alpha, limit = experts.gate_up_bias, experts.alpha, experts.limit
    if said.is_cuda:
        from ossia.kernels.moe import triton_rows

        return triton_rows.activate_rounded(said, ids, bias, alpha, limit)
    return round_rows(clamped_swiglu(said + bias[ids], alpha, limit))

"""The expert layer with what enters its products in 8-bit floats, for prompts: less precise, and faster.

Experts are a second copy, rounded from MXFP4 to e4m3 with a scale for each row (kernels/fp8/scaled.py). An MXFP4
number is its code times its block's power of two, and every code is one of e4m3's; so what is rounded of a row's weights
are those whose block's scale is far below the row's greatest, and what the row's own scale adds.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ossia.kernels.fp8.scaled import ScaledFp8, grouped_product, round_rows
from ossia.kernels.moe.reference import clamped_swiglu


class RoundedExperts(NamedTuple):
    """A layer's experts in e4m3.

    Args:
        gate_up: (experts, 2 ffn, hidden), gate and up rows in turn.
        down: (experts, hidden, ffn).
    """

    gate_up: ScaledFp8
    down: ScaledFp8


def run_experts(
    x: torch.Tensor,
    expert_ids: torch.Tensor,
    weights: torch.Tensor,
    experts: RoundedExperts,
    biases: tuple[torch.Tensor, torch.Tensor],
    alpha: float,
    limit: float,
) -> torch.Tensor:
    """As `reference.run_experts`; no gradients.

    Args:
        x: bfloat16 (tokens, hidden).
        expert_ids: int64 (tokens, top_k).
        weights: (tokens, top_k).
        experts: On x's device.
        biases: (experts, 2 ffn), gate and up interleaved, and (experts, hidden).
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
    """
    top_k, num_experts = expert_ids.shape[1], len(biases[0])
    ids, order = torch.sort(expert_ids.flatten(), stable=True)  # (slots,) both
    numbers = torch.arange(num_experts, device=x.device)
    ends = torch.searchsorted(ids, numbers, right=True, out_int32=True)  # (experts,)
    rows = round_rows(x).rows(order // top_k)
    said = grouped_product(rows, experts.gate_up, ends)
    inner = _activate(said, ids, biases[0], alpha, limit)
    said = grouped_product(inner, experts.down, ends)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=x.device)
    if said.is_cuda:
        from ossia.kernels.moe import triton_rows

        return triton_rows.combine(said, places, expert_ids, weights, biases[1])
    slots = (said + biases[1][ids])[places].view(*expert_ids.shape, -1)
    return (slots.float() * weights.float()[..., None]).sum(1).to(x.dtype)


def _activate(
    said: torch.Tensor, ids: torch.Tensor, bias: torch.Tensor, alpha: float, limit: float
) -> ScaledFp8:
    if said.is_cuda:
        from ossia.kernels.moe import triton_rows

        return triton_rows.activate_rounded(said, ids, bias, alpha, limit)
    return round_rows(clamped_swiglu(said + bias[ids], alpha, limit))

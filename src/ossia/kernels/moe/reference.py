"""The expert layer with plain torch operations; only experts that tokens chose are expanded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ossia.kernels.mxfp4 import BLOCK_SIZE, InterleavedMxfp4, Mxfp4Tensor, RelaidMxfp4, unpack

ExpertMatrix = torch.Tensor | Mxfp4Tensor | RelaidMxfp4 | InterleavedMxfp4


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertWeights:
    """The weights of one layer's experts.

    Gate and up columns are interleaved: gate at even, up at odd places.

    Args:
        gate_up: Dense (experts, hidden, 2 ffn), or packed rows (experts, 2 ffn, hidden), in any order.
        gate_up_bias: (experts, 2 ffn).
        down: Dense (experts, ffn, hidden), or packed rows (experts, hidden, ffn), in any order.
        down_bias: (experts, hidden).
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp of gate (above) and up (both sides).
        int8_activations: Whether what enters a product is rounded first, as `rounded_to_int8` does; on
            the CPU this saves time and costs precision.

    The tensors may lie on another device than the tokens, all four on the same.
    """

    gate_up: ExpertMatrix
    gate_up_bias: torch.Tensor
    down: ExpertMatrix
    down_bias: torch.Tensor
    alpha: float
    limit: float
    int8_activations: bool = False


def run_experts(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """Send every token through its experts and add up what they say.

    Args:
        x: (tokens, hidden).
        expert_ids: int64 (tokens, top_k).
        weights: (tokens, top_k).
        experts: The layer's expert weights.

    Returns:
        (tokens, hidden) of x's dtype; the sum over experts is taken in float32 at least, in
        routing order, so it does not depend on what else is in the batch.
    """
    top_k = expert_ids.shape[-1]
    num_experts = experts.gate_up_bias.shape[0]
    by_expert = torch.argsort(expert_ids.flatten(), stable=True)  # (tokens * top_k,)
    counts = torch.bincount(expert_ids.flatten(), minlength=num_experts).tolist()
    inputs = x[by_expert // top_k].split(counts)
    outputs = [_one_expert(rows, idx, experts) for idx, rows in enumerate(inputs) if rows.shape[0]]
    if not outputs:
        return torch.zeros_like(x)
    slots = torch.cat(outputs)[torch.argsort(by_expert)].view(*expert_ids.shape, -1)
    wide = torch.promote_types(x.dtype, torch.float32)
    return (slots.to(wide) * weights.to(wide)[..., None]).sum(dim=1).to(x.dtype)


def clamped_swiglu(x: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
    """Gated activation: gate * sigmoid(alpha * gate) * (up + 1), both clamped first.

    Args:
        x: (..., 2 ffn), gate and up interleaved.
        alpha: 1.702 in gpt-oss.
        limit: 7 in gpt-oss.

    Returns:
        (..., ffn) of x's dtype.
    """
    gate = x[..., 0::2].clamp(max=limit)
    up = x[..., 1::2].clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + 1.0)


def rounded_to_int8(x: torch.Tensor) -> torch.Tensor:
    """Each value rounded to a multiple of a 127th of the largest magnitude in its group of 32.

    Args:
        x: (..., n), n a multiple of 32. A group that is not finite becomes NaN.

    Returns:
        (..., n) of x's dtype, rounded as float32 would.
    """
    groups = x.to(torch.float32).unflatten(-1, (-1, BLOCK_SIZE))  # (..., n / 32, 32)
    peak = groups.abs().amax(dim=-1, keepdim=True)
    inverse = torch.full_like(peak, 127.0) / peak  # 127.0 / peak would be rounded twice
    integers = (groups * inverse).round().masked_fill(peak == 0, 0.0)
    return (integers.to(x.dtype) * (peak / 127.0).to(x.dtype)).flatten(-2)


def _one_expert(rows: torch.Tensor, expert_idx: int, experts: ExpertWeights) -> torch.Tensor:
    if experts.int8_activations:
        rows = rounded_to_int8(rows)
    hidden = _project(rows, expert_idx, experts.gate_up, experts.gate_up_bias)
    hidden = clamped_swiglu(hidden, experts.alpha, experts.limit)
    if experts.int8_activations:
        hidden = rounded_to_int8(hidden)
    return _project(hidden, expert_idx, experts.down, experts.down_bias)


def _project(
    rows: torch.Tensor, expert_idx: int, matrix: ExpertMatrix, bias: torch.Tensor
) -> torch.Tensor:
    # Weights that lie elsewhere are sent here, one expert at a time, and as packed as they are.
    if isinstance(matrix, RelaidMxfp4):
        weight = _expanded(matrix, expert_idx, rows)
    elif isinstance(matrix, InterleavedMxfp4):
        blocks, scales = (part.to(rows.device) for part in matrix.expert(expert_idx))
        weight = unpack(blocks, scales, rows.dtype)
    elif isinstance(matrix, Mxfp4Tensor):
        blocks, scales = (part[expert_idx].to(rows.device) for part in matrix)
        weight = unpack(blocks, scales, rows.dtype)
    else:
        weight = matrix[expert_idx].to(rows.device).t()
    return F.linear(rows, weight, bias[expert_idx].to(rows.device))


def _expanded(matrix: RelaidMxfp4, expert_idx: int, rows: torch.Tensor) -> torch.Tensor:
    """A relaid expert's rows in the tokens' dtype; one kernel where CUDA sources run."""
    if rows.device == matrix.blocks.device and rows.dtype is torch.bfloat16 and rows.is_cuda:
        from ossia.kernels.mxfp4.cuda_expand import expand  # loads the CUDA driver

        return expand(matrix, expert_idx)
    blocks, scales = (part.to(rows.device) for part in matrix.expert(expert_idx))
    return unpack(blocks, scales, rows.dtype)

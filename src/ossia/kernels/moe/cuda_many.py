"""The expert layer of relaid weights on CUDA, for any number of tokens.

Up to some tokens for each expert its packed weights are expanded on their way to the tensor cores
(kernels/decode/routed.py), so what counts is that they are read once. Beyond that Hopper has products of
its own, for up to 128 slots at once (kernels/decode/wide.py); elsewhere, where the products are what takes
time, a layer's matrices are expanded to bfloat16 first and multiplied by the vendor's grouped product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ossia.kernels.decode.experts import X_SCALE, RoutedStep
from ossia.kernels.decode.routed import (
    PACKED_SLOTS,
    Slots,
    dispatch,
    routed_down,
    routed_up,
    sort_slots,
)
from ossia.kernels.decode.wide import WIDE_SLOTS, runs_on, wide_down, wide_up, width_for
from ossia.kernels.moe import triton_rows
from ossia.kernels.moe.reference import ExpertWeights
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.cuda_expand import expand_all
from ossia.kernels.mxfp4.relaid import whole_units
from ossia.kernels.routing import route


def route_and_run(
    x: torch.Tensor, logits: torch.Tensor, top_k: int, experts: ExpertWeights
) -> torch.Tensor:
    """As `run_experts` with what kernels.routing.route gives.

    Args:
        x: bfloat16 (tokens, hidden).
        logits: (tokens, experts).
        top_k: Experts a token.
        experts: Both matrices relaid.
    """
    tokens, num_experts = logits.shape
    packed = _is_packed(tokens * top_k, num_experts, x.device)
    if not (packed or runs_on(x.device)):
        weights, expert_ids = route(logits, top_k)
        return run_experts(x, expert_ids, weights, experts)
    width = None if packed else width_for(tokens * top_k, num_experts)
    slots = Slots.empty(tokens, num_experts, top_k, x.device, width)
    dispatch(slots, RoutedStep(logits=logits.float(), positions=None, top_k=top_k), overlap=False)
    return (_packed if packed else _wide)(x, slots, top_k, experts)


def run_experts(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """As `reference.run_experts`; no gradients.

    Args:
        x: bfloat16 (tokens, hidden).
        expert_ids: int64 (tokens, top_k).
        weights: (tokens, top_k).
        experts: Both matrices relaid.
    """
    many = run_wide if runs_on(x.device) else run_expanded
    packed = _is_packed(expert_ids.numel(), experts.gate_up_bias.shape[0], x.device)
    return (run_packed if packed else many)(x, expert_ids, weights, experts)


def _is_packed(slots: int, num_experts: int, device: torch.device) -> bool:
    """Whether the experts have so few slots on average that what counts is to read weights once."""
    return slots <= num_experts * (WIDE_SLOTS if runs_on(device) else PACKED_SLOTS)


def run_packed(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """Weights are expanded where they are used."""
    slots = _sorted(expert_ids, weights, experts, None)
    return _packed(x, slots, expert_ids.shape[1], experts)


def _packed(x: torch.Tensor, slots: Slots, top_k: int, experts: ExpertWeights) -> torch.Tensor:
    gate_up, down = _relaid(experts)
    (tokens, hidden), ffn = x.shape, experts.gate_up_bias.shape[1] // 2
    operands = F.pad(x * X_SCALE, (0, whole_units(hidden) - hidden))
    inner = x.new_empty(tokens * top_k, whole_units(ffn))
    inner[:, ffn:] = 0
    routed_up(operands, slots, gate_up, experts.gate_up_bias, experts.alpha, experts.limit, inner)
    said = torch.empty(top_k, tokens, hidden, dtype=torch.float32, device=x.device)
    routed_down(inner, slots, down, experts.down_bias, said)
    return said.sum(0).to(x.dtype)


def run_wide(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """Weights are expanded where they are used, once for many slots; Hopper only."""
    top_k = expert_ids.shape[1]
    width = width_for(expert_ids.numel(), experts.gate_up_bias.shape[0])
    return _wide(x, _sorted(expert_ids, weights, experts, width), top_k, experts)


def _wide(x: torch.Tensor, slots: Slots, top_k: int, experts: ExpertWeights) -> torch.Tensor:
    gate_up, down = _relaid(experts)
    (tokens, hidden), ffn = x.shape, experts.gate_up_bias.shape[1] // 2
    operands = triton_rows.operands(x, whole_units(hidden), X_SCALE)
    inner = x.new_empty(tokens * top_k, whole_units(ffn))
    inner[:, ffn:] = 0
    wide_up(operands, slots, gate_up, experts.gate_up_bias, experts.alpha, experts.limit, inner)
    said = x.new_empty(tokens * top_k, hidden)
    wide_down(inner, slots, down, experts.down_bias, said)
    return triton_rows.weighted_sum(said, slots.weights.view(tokens, top_k))


def run_expanded(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """Whole matrices are expanded first."""
    gate_up, down = _relaid(experts)
    top_k, num_experts = expert_ids.shape[1], experts.gate_up_bias.shape[0]
    ids, order = torch.sort(expert_ids.flatten())  # (slots,) both
    numbers = torch.arange(num_experts, device=x.device)
    ends = torch.searchsorted(ids, numbers, right=True, out_int32=True)  # (experts,)
    rows = x[order // top_k]
    rows = F.grouped_mm(rows, expand_all(gate_up).transpose(1, 2), offs=ends)
    rows = triton_rows.activate(rows, ids, experts.gate_up_bias, experts.alpha, experts.limit)
    said = F.grouped_mm(rows, expand_all(down).transpose(1, 2), offs=ends)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=x.device)
    return triton_rows.combine(said, places, expert_ids, weights, experts.down_bias)


def _sorted(
    expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights, width: int | None
) -> Slots:
    """The slots of given choices, in items of a width, or of what `routed_up` takes."""
    (tokens, top_k), num_experts = expert_ids.shape, experts.gate_up_bias.shape[0]
    slots = Slots.empty(tokens, num_experts, top_k, expert_ids.device, width)
    slots.ids.copy_(expert_ids.flatten())
    slots.weights.copy_(weights.flatten())
    sort_slots(slots, num_experts, top_k)
    return slots


def _relaid(experts: ExpertWeights) -> tuple[RelaidMxfp4, RelaidMxfp4]:
    assert isinstance(experts.gate_up, RelaidMxfp4)
    assert isinstance(experts.down, RelaidMxfp4)
    return experts.gate_up, experts.down

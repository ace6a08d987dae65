"""The expert layer for a few tokens: MXFP4 weights are read once and expanded on their way.

Two launches, each with one program for a slice of the rows of one chosen expert. The tensor cores
take at least 16 columns, so a program computes its rows for all tokens of the batch and keeps what
the router asked for: no sorting, nothing that depends on the ids leaves the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from ossia.kernels.moe.reference import ExpertWeights
from ossia.kernels.mxfp4 import Mxfp4Tensor

MAX_TOKENS = 16
_COLUMNS = tl.constexpr(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How a launch is cut.

    Args:
        rows: Weight rows of a program.
        depth: Weights of a row that are taken at once, a multiple of 32.
        warps: Warps of a program.
        stages: Loads in flight.
    """

    rows: int
    depth: int
    warps: int
    stages: int


# The fastest of 27 on an H100 (benchmarks/LOG.md, 2026-11-25), for one or two tokens and for more.
FEW_TOKENS = 2
GATE_UP_FEW = Tiling(rows=64, depth=64, warps=4, stages=3)
DOWN_FEW = Tiling(rows=32, depth=256, warps=4, stages=3)
GATE_UP_MORE = Tiling(rows=128, depth=64, warps=4, stages=3)
DOWN_MORE = Tiling(rows=128, depth=64, warps=4, stages=3)


def run_experts(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """As `reference.run_experts`, for at most MAX_TOKENS tokens and packed experts; no gradients.

    Args:
        x: bfloat16 (tokens, hidden).
        expert_ids: int64 (tokens, top_k).
        weights: (tokens, top_k).
        experts: The layer's expert weights, both matrices packed.
    """
    few = len(x) <= FEW_TOKENS
    gate_up, down = (GATE_UP_FEW, DOWN_FEW) if few else (GATE_UP_MORE, DOWN_MORE)
    inner = project_up(x, expert_ids, experts, gate_up)
    said = project_down(inner, expert_ids, weights, experts, down)
    return said.view(*expert_ids.shape, -1).sum(1).to(x.dtype)


def project_up(
    x: torch.Tensor, expert_ids: torch.Tensor, experts: ExpertWeights, tiling: Tiling
) -> torch.Tensor:
    """Gate, up and activation of every chosen expert: (tokens * top_k, ffn) of x's dtype."""
    assert isinstance(experts.gate_up, Mxfp4Tensor)
    ffn = experts.gate_up_bias.shape[1] // 2
    inner = torch.empty(expert_ids.numel(), ffn, dtype=x.dtype, device=x.device)
    _gate_up_kernel[(triton.cdiv(2 * ffn, tiling.rows), expert_ids.numel())](
        x, expert_ids, experts.gate_up.blocks, experts.gate_up.scales, experts.gate_up_bias, inner,
        experts.alpha, experts.limit, **_common(expert_ids, x.shape[1], ffn, tiling),
    )  # fmt: skip
    return inner


def project_down(
    inner: torch.Tensor,
    expert_ids: torch.Tensor,
    weights: torch.Tensor,
    experts: ExpertWeights,
    tiling: Tiling,
) -> torch.Tensor:
    """What every chosen expert says, times its weight: float32 (tokens * top_k, hidden)."""
    assert isinstance(experts.down, Mxfp4Tensor)
    hidden = experts.down_bias.shape[1]
    said = torch.empty(len(inner), hidden, dtype=torch.float32, device=inner.device)
    _down_kernel[(triton.cdiv(hidden, tiling.rows), len(inner))](
        inner, expert_ids, weights, experts.down.blocks, experts.down.scales, experts.down_bias,
        said, **_common(expert_ids, hidden, inner.shape[1], tiling),
    )  # fmt: skip
    return said


def _common(expert_ids: torch.Tensor, hidden: int, ffn: int, tiling: Tiling) -> dict[str, int]:
    return {
        "tokens": expert_ids.shape[0],
        "HIDDEN": hidden,
        "FFN": ffn,
        "TOP_K": expert_ids.shape[1],
        "SLOTS": triton.next_power_of_2(expert_ids.numel()),
        "ROWS": tiling.rows,
        "DEPTH": tiling.depth,
        "INTERPRETED": bool(triton.knobs.runtime.interpret),
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
    }


@triton.jit
def _expanded(blocks, scales):
    """Packed weights as the float32 values of their even and odd places: two (rows, depth / 2)."""
    rows: tl.constexpr = blocks.shape[0]
    groups: tl.constexpr = scales.shape[1]
    scale = tl.exp2(scales.to(tl.float32) - 127.0)
    wide = tl.broadcast_to(scale[:, :, None], (rows, groups, 16)).reshape(rows, groups * 16)
    return _fp4(blocks & 15) * wide, _fp4(blocks >> 4) * wide


@triton.jit
def _fp4(codes):
    """Values of E2M1 codes in float32: the code's bits as float32's, times what the bias differs by."""
    wide = codes.to(tl.int32)
    exponent, mantissa = (wide >> 1) & 3, wide & 1
    normal = (2.0 + mantissa.to(tl.float32)) * tl.exp2(exponent.to(tl.float32) - 2.0)
    magnitude = tl.where(exponent == 0, mantissa.to(tl.float32) * 0.5, normal)
    return tl.where((wide & 8) != 0, -magnitude, magnitude)


@triton.jit
def _product(
    x, x_rows, x_mask, blocks, scales, rows, row_mask, SIZE: tl.constexpr, DEPTH: tl.constexpr,
    INTERPRETED: tl.constexpr,
):  # fmt: skip
    """Rows of one expert's packed matrix times columns of x: float32 (rows, columns).

    Row c of x, `SIZE` long, begins at x + x_rows[c].
    """
    acc = tl.zeros((rows.shape[0], _COLUMNS), tl.float32)
    for start in range(0, SIZE, DEPTH):
        bytes_at = start // 2 + tl.arange(0, DEPTH // 2)
        groups_at = start // 32 + tl.arange(0, DEPTH // 32)
        packed = tl.load(
            blocks + rows[:, None] * (SIZE // 2) + bytes_at[None, :],
            mask=row_mask[:, None] & (bytes_at < SIZE // 2)[None, :], other=0,
        )  # fmt: skip
        scale = tl.load(
            scales + rows[:, None] * (SIZE // 32) + groups_at[None, :],
            mask=row_mask[:, None] & (groups_at < SIZE // 32)[None, :], other=0,
        )  # fmt: skip
        if INTERPRETED:
            even, odd = _expanded(packed, scale)
            at = 2 * bytes_at
            inside = (at < SIZE)[:, None] & x_mask[None, :]
            x_even = tl.load(x + x_rows[None, :] + at[:, None], mask=inside, other=0.0)
            x_odd = tl.load(x + x_rows[None, :] + at[:, None] + 1, mask=inside, other=0.0)
            acc = tl.dot(even, x_even.to(tl.float32), acc)
            acc = tl.dot(odd, x_odd.to(tl.float32), acc)
        else:
            at = start + tl.arange(0, DEPTH)
            inside = (at < SIZE)[:, None] & x_mask[None, :]
            columns = tl.load(x + x_rows[None, :] + at[:, None], mask=inside, other=0.0)
            acc = tl.dot_scaled(packed, scale, "e2m1", columns, None, "bf16", acc)
    return acc


@triton.jit
def _first_of_its_expert(expert_ids, slot, expert, num_slots, SLOTS: tl.constexpr):
    """Whether no earlier slot chose the same expert."""
    others = tl.arange(0, SLOTS)
    ids = tl.load(expert_ids + others, mask=others < num_slots, other=-1)
    return tl.sum(((ids == expert) & (others < slot)).to(tl.int32)) == 0


@triton.jit
def _slots_of(expert_ids, expert, tokens, TOP_K: tl.constexpr):
    """For each token the slot in which it chose the expert, or -1."""
    token = tl.arange(0, _COLUMNS)
    found = tl.full((_COLUMNS,), -1, tl.int32)
    for choice in tl.static_range(TOP_K):
        slot = token * TOP_K + choice
        chosen = tl.load(expert_ids + slot, mask=token < tokens, other=-1)
        found = tl.where(chosen == expert, slot, found)
    return found


@triton.jit
def _gate_up_kernel(
    x, expert_ids, blocks, scales, bias, inner, alpha, limit, tokens,
    HIDDEN: tl.constexpr, FFN: tl.constexpr, TOP_K: tl.constexpr, SLOTS: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    slot = tl.program_id(1)
    expert = tl.load(expert_ids + slot)
    if _first_of_its_expert(expert_ids, slot, expert, tokens * TOP_K, SLOTS):
        rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        row_mask = rows < 2 * FFN
        token = tl.arange(0, _COLUMNS)
        acc = _product(
            x, token * HIDDEN, token < tokens, blocks + expert * FFN * HIDDEN,
            scales + expert * 2 * FFN * (HIDDEN // 32), rows, row_mask, HIDDEN, DEPTH, INTERPRETED,
        )  # fmt: skip
        shift = tl.load(bias + expert * 2 * FFN + rows, mask=row_mask, other=0.0).to(tl.float32)
        # The reference rounds here too: each projection's result is of x's dtype.
        acc = (acc + shift[:, None]).to(inner.dtype.element_ty).to(tl.float32)
        pairs = acc.reshape(ROWS // 2, 2, _COLUMNS).permute(0, 2, 1)
        gate, up = tl.split(pairs)
        gate = tl.where(gate > limit, limit, gate)  # keeps NaN, which a minimum hides
        up = tl.where(up > limit, limit, tl.where(up < -limit, -limit, up))
        out = gate / (1.0 + tl.exp(-alpha * gate)) * (up + 1.0)
        found = _slots_of(expert_ids, expert, tokens, TOP_K)
        place = tl.program_id(0) * (ROWS // 2) + tl.arange(0, ROWS // 2)
        tl.store(
            inner + found[None, :] * FFN + place[:, None], out.to(inner.dtype.element_ty),
            mask=(found >= 0)[None, :] & (place < FFN)[:, None],
        )  # fmt: skip


@triton.jit
def _down_kernel(
    inner, expert_ids, weights, blocks, scales, bias, said, tokens,
    HIDDEN: tl.constexpr, FFN: tl.constexpr, TOP_K: tl.constexpr, SLOTS: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    slot = tl.program_id(1)
    expert = tl.load(expert_ids + slot)
    if _first_of_its_expert(expert_ids, slot, expert, tokens * TOP_K, SLOTS):
        rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        row_mask = rows < HIDDEN
        found = _slots_of(expert_ids, expert, tokens, TOP_K)
        acc = _product(
            inner, found * FFN, found >= 0, blocks + expert * HIDDEN * (FFN // 2),
            scales + expert * HIDDEN * (FFN // 32), rows, row_mask, FFN, DEPTH, INTERPRETED,
        )  # fmt: skip
        shift = tl.load(bias + expert * HIDDEN + rows, mask=row_mask, other=0.0).to(tl.float32)
        weight = tl.load(weights + found, mask=found >= 0, other=0.0).to(tl.float32)
        out = (acc + shift[:, None]).to(inner.dtype.element_ty).to(tl.float32) * weight[None, :]
        tl.store(
            said + found[None, :] * HIDDEN + rows[:, None], out,
            mask=(found >= 0)[None, :] & row_mask[:, None],
        )  # fmt: skip

"""What stands beside the grouped products: activation of gate and up, and the sum over experts."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ossia.kernels.fp8.scaled import ScaledFp8
from ossia.kernels.fp8.triton_scaled import room_for, store_rounded

_COLUMNS = 1024


def activate(
    rows: torch.Tensor, ids: torch.Tensor, bias: torch.Tensor, alpha: float, limit: float
) -> torch.Tensor:
    """Clamped SwiGLU of rows plus their experts' biases, as `reference.clamped_swiglu`.

    Args:
        rows: (rows, 2 ffn), gate and up interleaved.
        ids: int64 (rows,): each row's expert.
        bias: (experts, 2 ffn).
        alpha: Steepness.
        limit: Clamp.

    Returns:
        (rows, ffn) of the rows' dtype.
    """
    count, double = rows.shape
    out = torch.empty(count, double // 2, dtype=rows.dtype, device=rows.device)
    _activate_kernel[(count, triton.cdiv(double // 2, _COLUMNS))](
        rows, ids, bias, out, alpha, limit, FFN=double // 2, COLUMNS=_COLUMNS, num_warps=4
    )
    return out


def activate_rounded(
    rows: torch.Tensor, ids: torch.Tensor, bias: torch.Tensor, alpha: float, limit: float
) -> ScaledFp8:
    """What `activate` gives, rounded as `kernels.fp8.scaled.round_rows` does it, without a way through memory."""
    count, double = rows.shape
    out, ffn = room_for(count, double // 2, rows.device), double // 2
    _activate_rounded_kernel[(count,)](
        rows, ids, bias, *out, alpha, limit, FFN=ffn, UP=triton.next_power_of_2(ffn), num_warps=8
    )  # fmt: skip
    return out


def combine(
    said: torch.Tensor, places: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Sum what a token's experts say, biases added, in routing order and in float32.

    Args:
        said: (tokens * top_k, hidden) in any order.
        places: int64 (tokens * top_k,): where in `said` each slot's row is.
        ids: int64 (tokens, top_k).
        weights: (tokens, top_k).
        bias: (experts, hidden).

    Returns:
        (tokens, hidden) of said's dtype.
    """
    tokens, top_k = ids.shape
    hidden = said.shape[1]
    out = torch.empty(tokens, hidden, dtype=said.dtype, device=said.device)
    _combine_kernel[(tokens, triton.cdiv(hidden, _COLUMNS))](
        said, places, ids, weights, bias, out, HIDDEN=hidden, TOP_K=top_k, COLUMNS=_COLUMNS,
        num_warps=4,
    )  # fmt: skip
    return out


def operands(x: torch.Tensor, columns: int, scale: float) -> torch.Tensor:
    """Rows as `kernels.decode.wide` takes them: scaled, filled up with zeros, and reordered.

    Args:
        x: (rows, hidden).
        columns: Of the result, a multiple of 32, at least hidden.
        scale: A power of two.
    """
    out = torch.empty(len(x), columns, dtype=x.dtype, device=x.device)
    _operands_kernel[(len(x),)](
        x, out, scale, HIDDEN=x.shape[1], COLUMNS=columns, UP=triton.next_power_of_2(columns),
        num_warps=4,
    )  # fmt: skip
    return out


def weighted_sum(said: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum what a token's experts say, in routing order and in float32.

    Args:
        said: (tokens * top_k, hidden), slot by slot.
        weights: (tokens, top_k).

    Returns:
        (tokens, hidden) of said's dtype.
    """
    tokens, top_k = weights.shape
    hidden = said.shape[1]
    out = torch.empty(tokens, hidden, dtype=said.dtype, device=said.device)
    _sum_kernel[(tokens, triton.cdiv(hidden, _COLUMNS))](
        said, weights, out, HIDDEN=hidden, TOP_K=top_k, COLUMNS=_COLUMNS, num_warps=4
    )
    return out


@triton.jit
def _operands_kernel(
    x_ptr, out_ptr, scale, HIDDEN: tl.constexpr, COLUMNS: tl.constexpr, UP: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, UP)
    within = place % 32
    column = (
        place - within + within % 8 // 2 * 8 + within // 16 * 4 + within % 16 // 8 * 2 + within % 2
    )
    x = tl.load(x_ptr + row * HIDDEN + column, mask=column < HIDDEN, other=0.0)
    scaled = (x.to(tl.float32) * scale).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row * COLUMNS + place, scaled, mask=place < COLUMNS)


@triton.jit
def _sum_kernel(
    said_ptr, weights_ptr, out_ptr, HIDDEN: tl.constexpr, TOP_K: tl.constexpr, COLUMNS: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < HIDDEN
    total = tl.zeros((COLUMNS,), tl.float32)
    for i in range(TOP_K):
        slot = token * TOP_K + i
        said = tl.load(said_ptr + slot * HIDDEN + columns, mask=inside, other=0.0)
        total += tl.load(weights_ptr + slot).to(tl.float32) * said.to(tl.float32)
    tl.store(out_ptr + token * HIDDEN + columns, total.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _activated(
    rows_ptr, ids_ptr, bias_ptr, row, first, alpha, limit, FFN: tl.constexpr, COLUMNS: tl.constexpr
):
    """Columns of a row from `first` on, in float32; zeros beyond the last."""
    pairs = 2 * first + tl.arange(0, 2 * COLUMNS)
    inside = pairs < 2 * FFN
    kind = rows_ptr.dtype.element_ty
    bias = tl.load(bias_ptr + tl.load(ids_ptr + row) * (2 * FFN) + pairs, mask=inside, other=0.0)
    said = tl.load(rows_ptr + row * (2 * FFN) + pairs, mask=inside, other=0.0)
    both = (said.to(tl.float32) + bias.to(tl.float32)).to(kind).to(tl.float32)
    gate, up = tl.split(tl.reshape(both, (COLUMNS, 2)))
    gate = tl.where(gate > limit, limit, gate)  # keeps NaN, which a minimum hides
    up = tl.where(up > limit, limit, tl.where(up < -limit, -limit, up))
    return gate / (1.0 + tl.exp(-alpha * gate)) * (up + 1.0)


@triton.jit
def _activate_kernel(
    rows_ptr, ids_ptr, bias_ptr, out_ptr, alpha, limit, FFN: tl.constexpr, COLUMNS: tl.constexpr
):
    row, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * COLUMNS
    out = _activated(rows_ptr, ids_ptr, bias_ptr, row, first, alpha, limit, FFN, COLUMNS)
    columns = first + tl.arange(0, COLUMNS)
    tl.store(out_ptr + row * FFN + columns, out.to(out_ptr.dtype.element_ty), mask=columns < FFN)


@triton.jit
def _activate_rounded_kernel(
    rows_ptr,
    ids_ptr,
    bias_ptr,
    codes_ptr,
    scales_ptr,
    alpha,
    limit,
    FFN: tl.constexpr,
    UP: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    out = _activated(rows_ptr, ids_ptr, bias_ptr, row, 0, alpha, limit, FFN, UP)
    out = out.to(rows_ptr.dtype.element_ty).to(tl.float32)
    store_rounded(out, codes_ptr, scales_ptr, row, FFN, UP, POWERS=False)


@triton.jit
def _combine_kernel(
    said_ptr, places_ptr, ids_ptr, weights_ptr, bias_ptr, out_ptr,
    HIDDEN: tl.constexpr, TOP_K: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < HIDDEN
    kind = out_ptr.dtype.element_ty
    total = tl.zeros((COLUMNS,), tl.float32)
    for i in range(TOP_K):
        slot = token * TOP_K + i
        said = tl.load(
            said_ptr + tl.load(places_ptr + slot) * HIDDEN + columns, mask=inside, other=0.0
        )
        bias = tl.load(
            bias_ptr + tl.load(ids_ptr + slot) * HIDDEN + columns, mask=inside, other=0.0
        )
        rounded = (said.to(tl.float32) + bias.to(tl.float32)).to(kind).to(tl.float32)
        total += tl.load(weights_ptr + slot).to(tl.float32) * rounded
    tl.store(out_ptr + token * HIDDEN + columns, total.to(kind), mask=inside)

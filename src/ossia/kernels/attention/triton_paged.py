"""Attention of many new tokens over keys in pages: an online softmax by blocks of queries.

The query heads of one key head lie together in a block, so that its keys are loaded once for all of
them and a sliding window is as narrow as it can be (Dao 2023, arXiv:2307.08691, for the loop).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_ROWS, _KEYS = 128, 64  # of a program: queries times heads; keys that it takes at once
_LOG2_E = 1.4426950408889634


def queries_of_a_block(heads: int, kv_heads: int) -> int:
    """New tokens that one program takes."""
    return max(1, _ROWS // triton.next_power_of_2(heads // kv_heads))


def attend_paged(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    page_table: torch.Tensor,
    blocks: torch.Tensor,
    sinks: torch.Tensor,
    window: int | None,
) -> torch.Tensor:
    """As `reference.attend_paged`.

    Args:
        q: (tokens, heads, head_dim), head_dim a power of two from 16 on; rows may lie apart.
        k_pages: Of q's dtype or float8_e4m3fn, of which each number is one of q's dtype, too.
        v_pages: Like k_pages.
        page_table: int32 (seqs, max_pages).
        blocks: int32 (blocks, 4), as `query_blocks` makes them; blocks of no rows are passed over,
            and rows at negative positions get zeros.
        sinks: (heads,).
        window: Keys a query may see, itself included; None for all.
    """
    _, heads, head_dim = q.shape
    page_size, kv_heads = k_pages.shape[1:3]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    _attend_kernel[(len(blocks), kv_heads)](
        q, k_pages, v_pages, out, page_table, sinks, blocks, page_table.stride(0), q.stride(0),
        head_dim**-0.5 * _LOG2_E,
        HEADS=heads, KV_HEADS=kv_heads, DIM=head_dim, PAGE=page_size, WINDOW=window or 0,
        GROUP=triton.next_power_of_2(heads // kv_heads),
        QUERIES=queries_of_a_block(heads, kv_heads), KEYS=_KEYS, num_warps=8, num_stages=3,
    )  # fmt: skip
    return out


@triton.jit
def _rows_of_keys(table, first, low, high, KEYS: tl.constexpr, PAGE: tl.constexpr):
    """Where the keys at positions from `first` on lie, and which of them count."""
    positions = first + tl.arange(0, KEYS)
    inside = (positions >= low) & (positions < high)
    pages = tl.load(table + positions // PAGE, mask=inside, other=0)
    return (pages * PAGE + positions % PAGE).to(tl.int64), positions, inside


@triton.jit
def _joined(acc, peak, mass, scores, values):
    """The softmax's running state with some more keys in it."""
    top = tl.maximum(peak, tl.max(scores, 1))
    fade = tl.exp2(peak - top)
    shares = tl.exp2(scores - top[:, None])
    acc = acc * fade[:, None]
    acc = tl.dot(shares.to(values.dtype), values, acc)
    return acc, top, mass * fade + tl.sum(shares, 1)


@triton.jit(do_not_specialize=["table_stride"])  # else it is compiled anew for each kind of length
def _attend_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, table_ptr, sinks_ptr, blocks_ptr, table_stride, q_stride, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr,
    WINDOW: tl.constexpr, GROUP: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    block = blocks_ptr + 4 * tl.program_id(0)
    kv_head = tl.program_id(1)
    table = table_ptr + tl.load(block).to(tl.int64) * table_stride
    first_row, count, start = tl.load(block + 1), tl.load(block + 2), tl.load(block + 3)
    if count == 0:
        return
    rows, dims = tl.arange(0, QUERIES * GROUP), tl.arange(0, DIM)
    query, member = rows // GROUP, rows % GROUP
    there = (query < count) & (member < HEADS // KV_HEADS)
    head = kv_head * (HEADS // KV_HEADS) + member
    row = (first_row + query).to(tl.int64)
    from_row = (row * q_stride + head * DIM)[:, None] + dims[None, :]
    q = tl.load(q_ptr + from_row, mask=there[:, None], other=0.0)
    peak = tl.load(sinks_ptr + head, mask=there, other=0.0).to(tl.float32) * 1.4426950408889634
    mass = tl.full((QUERIES * GROUP,), 1.0, tl.float32)
    acc = tl.zeros((QUERIES * GROUP, DIM), tl.float32)
    end = start + count
    k_base, v_base = k_ptr + kv_head * DIM, v_ptr + kv_head * DIM
    low = 0
    first = 0
    if WINDOW > 0:
        low = tl.maximum(0, start - WINDOW + 1)
        first = low // KEYS * KEYS
    else:
        all_see = (start + 1) // KEYS * KEYS
        for k0 in tl.range(0, all_see, KEYS):
            places, _, _ = _rows_of_keys(table, k0, 0, all_see, KEYS, PAGE)
            offsets = places[:, None] * (KV_HEADS * DIM) + dims[None, :]
            keys, values = tl.load(k_base + offsets), tl.load(v_base + offsets)
            keys, values = keys.to(q.dtype), values.to(q.dtype)
            scores = tl.dot(q, tl.trans(keys)) * scale
            acc, peak, mass = _joined(acc, peak, mass, scores, values)
        first = all_see
    position = start + query
    for k0 in tl.range(first, end, KEYS):
        places, positions, inside = _rows_of_keys(table, k0, low, end, KEYS, PAGE)
        offsets = places[:, None] * (KV_HEADS * DIM) + dims[None, :]
        keys = tl.load(k_base + offsets, mask=inside[:, None], other=0.0)
        values = tl.load(v_base + offsets, mask=inside[:, None], other=0.0)
        keys, values = keys.to(q.dtype), values.to(q.dtype)
        scores = tl.dot(q, tl.trans(keys)) * scale
        seen = inside[None, :] & (positions[None, :] <= position[:, None])
        if WINDOW > 0:
            seen = seen & (positions[None, :] > position[:, None] - WINDOW)
        scores = tl.where(seen, scores, float("-inf"))
        acc, peak, mass = _joined(acc, peak, mass, scores, values)
    out = acc / mass[:, None]
    at = (row * HEADS + head)[:, None] * DIM + dims[None, :]
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=there[:, None])

"""Rope and KV write in one launch: queries are turned in place, keys and values go to their pages."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


def rotate_and_write(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    pages: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
) -> None:
    """As kernels.rope.apply_rope of q and k, and kernels.kv_write.write_kv of k and v.

    Args:
        q: (tokens, heads, head_dim), overwritten; its rows, like those of k and v, may lie apart.
        k: (tokens, kv_heads, head_dim).
        v: Like k.
        rope: Cosines and sines, float32 (tokens, head_dim / 2) both; rows may lie apart, equally far.
        pages: Keys and values, (pages, page_size, kv_heads, head_dim) of q's dtype or float8_e4m3fn.
        slots: int64 or int32 (tokens,): page * page_size + offset; negative for nowhere.
    """
    tokens, heads, head_dim = q.shape
    assert rope[0].stride() == rope[1].stride(), "cosines and sines lie alike"
    kv_heads = k.shape[1]
    _rotate_kernel[(tokens,)](
        q, k, v, *rope, *pages, slots, q.stride(0), k.stride(0), v.stride(0), rope[0].stride(0),
        HEADS=heads, KV_HEADS=kv_heads, HALF=head_dim // 2,
        HEADS_UP=triton.next_power_of_2(heads), KV_UP=triton.next_power_of_2(kv_heads),
        HALF_UP=triton.next_power_of_2(head_dim // 2), num_warps=4,
    )  # fmt: skip


@triton.jit
def _turned(base, cos, sin, at, inside, HALF: tl.constexpr):
    """Both halves of some heads, rotated against each other."""
    first = tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(base + at + HALF, mask=inside, other=0.0).to(tl.float32)
    return first * cos - second * sin, second * cos + first * sin


@triton.jit
def _stored(x, kind: tl.constexpr):
    """What pages of a kind keep of numbers in the model's dtype."""
    if kind == tl.float8e4nv:
        x = x.to(tl.float32)
        x = tl.where(x > 448.0, 448.0, x)  # tl.clamp would make a number of NaN
        x = tl.where(x < -448.0, -448.0, x)
    return x.to(kind)


@triton.jit
def _rotate_kernel(
    q_ptr, k_ptr, v_ptr, cos_ptr, sin_ptr, k_pages, v_pages, slots, q_stride, k_stride, v_stride,
    rope_stride,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr,
    HEADS_UP: tl.constexpr, KV_UP: tl.constexpr, HALF_UP: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    pair = tl.arange(0, HALF_UP)
    cos = tl.load(cos_ptr + token * rope_stride + pair, mask=pair < HALF, other=0.0)[None, :]
    sin = tl.load(sin_ptr + token * rope_stride + pair, mask=pair < HALF, other=0.0)[None, :]
    head = tl.arange(0, HEADS_UP)[:, None]
    at = token * q_stride + head * (2 * HALF) + pair[None, :]
    inside = (head < HEADS) & (pair < HALF)[None, :]
    first, second = _turned(q_ptr, cos, sin, at, inside, HALF)
    kind = q_ptr.dtype.element_ty
    tl.store(q_ptr + at, first.to(kind), mask=inside)
    tl.store(q_ptr + at + HALF, second.to(kind), mask=inside)
    head = tl.arange(0, KV_UP)[:, None]
    at = token * k_stride + head * (2 * HALF) + pair[None, :]
    slot = tl.load(slots + token).to(tl.int64)
    if slot < 0:
        return
    to = (slot * KV_HEADS + head) * (2 * HALF) + pair[None, :]
    inside = (head < KV_HEADS) & (pair < HALF)[None, :]
    first, second = _turned(k_ptr, cos, sin, at, inside, HALF)
    kept = k_pages.dtype.element_ty
    tl.store(k_pages + to, _stored(first.to(kind), kept), mask=inside)
    tl.store(k_pages + to + HALF, _stored(second.to(kind), kept), mask=inside)
    at = token * v_stride + head * (2 * HALF) + pair[None, :]
    tl.store(v_pages + to, _stored(tl.load(v_ptr + at, mask=inside), kept), mask=inside)
    tl.store(
        v_pages + to + HALF, _stored(tl.load(v_ptr + at + HALF, mask=inside), kept), mask=inside
    )

"""Rope and KV write by the CPU kernels."""

from __future__ import annotations

import ctypes

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.calls import RopeCall
from ossia.kernels.cpu.kernel_library import TYPES


def rotate_and_write(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    pages: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
) -> None:
    """As `reference.rotate_and_write`, q turned in place; no gradients.

    Args:
        q: (tokens, heads, head_dim), float32 or bfloat16, on the CPU; a token's heads lie together,
            tokens may lie apart, as in k and v.
        k: (tokens, kv_heads, head_dim).
        v: Like k.
        rope: Cosines and sines, float32 (tokens, head_dim / 2) both.
        pages: Keys and values, contiguous: of q's dtype, (pages, page_size, kv_heads, head_dim), or int8
            (..., head_dim + 4); for those k is turned in place, too.
        slots: int64 (tokens,), contiguous.
    """
    kernels = load()
    assert kernels is not None
    cos, sin = (part.contiguous() for part in rope)
    tokens, heads, head_dim = q.shape
    call = RopeCall(
        q=q.data_ptr(), k=k.data_ptr(), v=v.data_ptr(), cos=cos.data_ptr(), sin=sin.data_ptr(),
        k_pages=pages[0].data_ptr(), v_pages=pages[1].data_ptr(), slots=slots.data_ptr(),
        tokens=tokens, heads=heads, kv_heads=k.shape[1], head_dim=head_dim,
        q_stride=q.stride(0), k_stride=k.stride(0), v_stride=v.stride(0),
        type=TYPES[q.dtype], int8_pages=pages[0].dtype is torch.int8, threads=num_threads(),
    )  # fmt: skip
    kernels.call("ossia_rotate_and_write", ctypes.byref(call))

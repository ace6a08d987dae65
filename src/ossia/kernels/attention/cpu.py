"""Attention over pages by the CPU kernels."""

from __future__ import annotations

import ctypes

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.calls import AttentionCall
from ossia.kernels.cpu.kernel_library import TYPES


def attend_paged(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    page_table: torch.Tensor,
    query_lens: list[int],
    context_lens: list[int],
    sinks: torch.Tensor,
    window: int | None,
) -> torch.Tensor:
    """As `reference.attend_paged`, with sums in float32; no gradients.

    A token's result is the same to the last bit whatever else is in the call, and whichever tokens before it
    were new. Of bfloat16 the weights are rounded as the reference rounds them, or not at all.

    Args:
        q: (tokens, heads, head_dim), float32 or bfloat16, on the CPU.
        k_pages: (pages, page_size, kv_heads, head_dim) of q's dtype, or int8 (..., head_dim + 4),
            contiguous, as v_pages.
        v_pages: Like k_pages.
        page_table: int32 (seqs, max_pages), rows contiguous.
        query_lens: New tokens of each sequence.
        context_lens: Tokens of each sequence that are in pages, the new ones included.
        sinks: (heads,) of q's dtype.
        window: Keys a query may see, itself included; None for all.

    Raises:
        KernelError: memory is out.
    """
    kernels = load()
    assert kernels is not None
    q, sinks = q.contiguous(), sinks.contiguous()
    out = torch.empty_like(q)
    lens = torch.tensor([query_lens, context_lens])  # int64 (2, seqs)
    _, heads, head_dim = q.shape
    _, page_size, kv_heads, _ = k_pages.shape
    call = AttentionCall(
        q=q.data_ptr(), k_pages=k_pages.data_ptr(), v_pages=v_pages.data_ptr(),
        page_table=page_table.data_ptr(), query_lens=lens[0].data_ptr(), context_lens=lens[1].data_ptr(),
        sinks=sinks.data_ptr(), out=out.data_ptr(),
        seqs=len(query_lens), heads=heads, kv_heads=kv_heads, head_dim=head_dim, page_size=page_size,
        max_pages=page_table.stride(0), window=window or 0,
        type=TYPES[q.dtype], int8_pages=k_pages.dtype is torch.int8, threads=num_threads(),
    )  # fmt: skip
    kernels.call("ossia_attend", ctypes.byref(call))
    return out

"""attend_paged: the fastest implementation that takes these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch

from ossia.kernels.attention import cpu, reference
from ossia.kernels.attention.blocks import query_blocks
from ossia.kernels.backend import choose
from ossia.kernels.cpu.kernel_library import TYPES
from ossia.kernels.fp8 import FP8, has_fp8

_LEAST_HEAD_DIM, _MOST_HEAD_DIM = 16, 64  # what tensor cores take; what small shared memories hold


def queries_of_a_block(heads: int, kv_heads: int, device: torch.device) -> int | None:
    """New tokens that a program of a device's kernel takes at most; None where it needs no blocks."""
    if _chosen(device) != "triton":
        return None
    from ossia.kernels.attention import triton_paged

    return triton_paged.queries_of_a_block(heads, kv_heads)


def blocks_for(
    query_lens: list[int], context_lens: list[int], heads: int, kv_heads: int, device: torch.device
) -> torch.Tensor | None:
    """How a batch is dealt to a device's kernel, on the CPU; None where it needs none."""
    size = queries_of_a_block(heads, kv_heads, device)
    return None if size is None else query_blocks(query_lens, context_lens, size)


def attend_paged(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    page_table: torch.Tensor,
    query_lens: list[int],
    context_lens: list[int],
    sinks: torch.Tensor,
    window: int | None,
    blocks: torch.Tensor | None = None,
) -> torch.Tensor:
    """As `reference.attend_paged` defines it; `blocks` is what `blocks_for` gave, on q's device."""
    head_dim = q.shape[-1]
    if (
        blocks is not None
        and k_pages.dtype is v_pages.dtype
        and (k_pages.dtype is q.dtype or (k_pages.dtype is FP8 and has_fp8(q.device)))
        and q.dtype in (torch.bfloat16, torch.float16)
        and _LEAST_HEAD_DIM <= head_dim <= _MOST_HEAD_DIM
        and head_dim & (head_dim - 1) == 0
        and q.stride()[1:] == (head_dim, 1)
        and not torch.is_grad_enabled()
    ):
        from ossia.kernels.attention import triton_paged

        with torch.cuda.device_of(q):  # Triton launches on the current device
            return triton_paged.attend_paged(q, k_pages, v_pages, page_table, blocks, sinks, window)
    if (
        not torch.is_grad_enabled()
        and q.device.type == k_pages.device.type == "cpu"
        and q.dtype is sinks.dtype
        and k_pages.dtype is v_pages.dtype
        and k_pages.dtype in (q.dtype, torch.int8)
        and q.dtype in TYPES
        and all(part.is_contiguous() for part in (k_pages, v_pages))
        and page_table.dtype is torch.int32
        and page_table.stride(1) == 1
        and _chosen(q.device) == "cpu"
    ):
        return cpu.attend_paged(
            q, k_pages, v_pages, page_table, query_lens, context_lens, sinks, window
        )
    return reference.attend_paged(
        q, k_pages, v_pages, page_table, query_lens, context_lens, sinks, window
    )


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("attention", device).chosen.name

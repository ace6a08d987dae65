"""KV write with plain torch operations."""

from __future__ import annotations

import torch


def write_kv(pages: torch.Tensor, new: torch.Tensor, slots: torch.Tensor) -> None:
    """Store new keys (or values) in place.

    Args:
        pages: (pages, page_size, kv_heads, head_dim).
        new: (tokens, kv_heads, head_dim); converted to the pages' dtype.
        slots: int64 (tokens,), page * page_size + offset, each at most once.
    """
    flat = pages.view(-1, *pages.shape[2:])
    flat.index_copy_(0, slots, new.to(pages.dtype))

"""KV write with plain torch operations."""

from __future__ import annotations

import torch

from ossia.kernels.fp8 import FP8, to_fp8
from ossia.kernels.int8 import quantize_rows
from ossia.kernels.rope import apply_rope


def write_kv(pages: torch.Tensor, new: torch.Tensor, slots: torch.Tensor) -> None:
    """Store new keys (or values) in place.

    Args:
        pages: (pages, page_size, kv_heads, head_dim), or int8 (..., head_dim + 4): `kernels.int8`. In
            float8_e4m3fn as `kernels.fp8` rounds.
        new: (tokens, kv_heads, head_dim); converted to the pages' dtype.
        slots: int64 (tokens,), page * page_size + offset, each at most once.
    """
    flat = pages.view(-1, *pages.shape[2:])
    if pages.dtype is FP8:  # not every operation takes it
        flat.view(torch.uint8).index_copy_(0, slots, to_fp8(new).view(torch.uint8))
        return
    rows = quantize_rows(new) if pages.dtype is torch.int8 else new.to(pages.dtype)
    flat.index_copy_(0, slots, rows)


def rotate_and_write(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    pages: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
) -> torch.Tensor:
    """Turn queries and keys by their positions, and store keys and values.

    Args:
        q: (tokens, heads, head_dim).
        k: (tokens, kv_heads, head_dim).
        v: Like k.
        rope: Cosines and sines, (tokens, head_dim / 2) both.
        pages: Keys and values, as `write_kv` takes them.
        slots: As in `write_kv`.

    Returns:
        The turned queries.
    """
    write_kv(pages[0], apply_rope(k, *rope), slots)
    write_kv(pages[1], v, slots)
    return apply_rope(q, *rope)

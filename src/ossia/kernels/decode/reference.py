"""What the kernels of a decode step compute, with plain torch operations in any precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.kernels.attention import attend_paged
from ossia.kernels.decode.wide import operand_places
from ossia.kernels.kv_write import write_kv
from ossia.kernels.moe import ExpertWeights, reference
from ossia.kernels.norm import rms_norm
from ossia.kernels.rope import apply_rope
from ossia.kernels.routing import route
from ossia.kernels.sampling import draw_greedy


def project(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """(tokens, k) times matrices that lie one below the other: (tokens, all rows)."""
    return x @ torch.cat(list(weights)).to(x.dtype).T


def add_and_norm(
    before: torch.Tensor,
    added: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    *,
    in_places: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The residual stream after a block, and its norm: (tokens, hidden) both.

    Args:
        before: The stream before.
        added: What joins it.
        weight: (hidden,), the norm's.
        eps: Added to the mean square.
        in_places: Whether the norm's columns come in the order of `operand_places`.
    """
    after = before + added
    normed = rms_norm(after, weight, eps)
    return after, normed[:, operand_places(normed.shape[1])] if in_places else normed


def run_experts(
    x: torch.Tensor,
    logits: torch.Tensor,
    positions: torch.Tensor,
    top_k: int,
    experts: ExpertWeights,
) -> torch.Tensor:
    """The chosen experts' weighted sum; zeros for tokens at negative positions.

    Args:
        x: (tokens, hidden).
        logits: (tokens, experts), the router's, in the model's dtype.
        positions: (tokens,).
        top_k: Experts a token.
        experts: In checkpoint order.
    """
    weights, ids = route(logits, top_k)
    said = reference.run_experts(x, ids, weights.to(x.dtype), experts)
    return said.masked_fill((positions < 0)[:, None], 0.0)


def attend_one(
    qkv: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    sinks: torch.Tensor,
    pages: tuple[torch.Tensor, torch.Tensor],
    table: torch.Tensor,
    positions: torch.Tensor,
    window: int | None,
) -> torch.Tensor:
    """Rope, the write of the new keys and values, and attention.

    Args:
        qkv: (tokens, (heads + 2 kv_heads) * head_dim), biases included.
        rope: Cosines and sines (tokens, head_dim / 2).
        sinks: (heads,).
        pages: Keys and values, (pages, page_size, kv_heads, head_dim); written in place.
        table: int32 (tokens, width).
        positions: int32 (tokens,), none negative.
        window: Keys that a query may see; None for all.

    Returns:
        (tokens, heads * head_dim) in the sinks' dtype.
    """
    k_pages, v_pages = pages
    _, page_size, kv_heads, head_dim = k_pages.shape
    sizes = [count * head_dim for count in (len(sinks), kv_heads, kv_heads)]
    q, k, v = (part.unflatten(1, (-1, head_dim)) for part in qkv.split(sizes, 1))
    place = positions.long()
    page = table.gather(1, (place // page_size)[:, None]).squeeze(1).long()
    slots = page * page_size + place % page_size
    write_kv(k_pages, apply_rope(k, *rope), slots)
    write_kv(v_pages, v, slots)
    wide = sinks.dtype
    out = attend_paged(
        apply_rope(q, *rope).to(wide), k_pages.to(wide), v_pages.to(wide), table,
        [1] * len(q), (place + 1).tolist(), sinks, window,
    )  # fmt: skip
    return out.flatten(1)


def argmax(logits: torch.Tensor, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely of the ids below `end`, and their logits: (tokens,) both."""
    ids = draw_greedy(logits[:, :end])
    return ids, logits.gather(1, ids[:, None]).squeeze(1)

"""Attention with plain torch operations: over padded, ragged and paged keys."""

from __future__ import annotations

import torch

from ossia.kernels.fp8 import FP8
from ossia.kernels.int8 import dequantize_rows

_MAX_SCORES = 1 << 27  # score elements held at once; queries are taken in slices to stay below


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_positions: torch.Tensor,
    k_positions: torch.Tensor,
    sinks: torch.Tensor,
    window: int | None,
) -> torch.Tensor:
    """Attention over padded sequences.

    Query at position p sees keys at positions in (p - window, p]; scores are scaled by
    head_dim ** -0.5, sinks are not. The softmax runs in float32 at least.

    Args:
        q: (batch, queries, heads, head_dim).
        k: (batch, keys, kv_heads, head_dim); heads is a multiple of kv_heads.
        v: Like k.
        q_positions: (batch, queries) integers.
        k_positions: (batch, keys) integers; negative marks padding that nobody sees.
        sinks: (heads,).
        window: Keys a query may see, itself included; None for all.

    Returns:
        (batch, queries, heads, head_dim) of q's dtype. A query that sees nothing gets zeros.
    """
    step = max(1, _MAX_SCORES // max(1, q.shape[0] * q.shape[2] * k.shape[1]))
    outputs = [
        _attend_slice(queries, k, v, positions, k_positions, sinks, window)[0]
        for queries, positions in zip(q.split(step, 1), q_positions.split(step, 1), strict=True)
    ]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def attend_with_weights(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_positions: torch.Tensor,
    k_positions: torch.Tensor,
    sinks: torch.Tensor,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `attend`, and the weight that each query gives each key, all held at once.

    Returns:
        The output, and (batch, heads, queries, keys) of v's dtype; a row sums to less than 1, by
        the sink's share.
    """
    out, weights = _attend_slice(q, k, v, q_positions, k_positions, sinks, window)
    return out, weights.flatten(1, 2)


def _attend_slice(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_positions: torch.Tensor,
    k_positions: torch.Tensor,
    sinks: torch.Tensor,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and weights (batch, kv_heads, group, queries, keys)."""
    batch, num_queries, heads, head_dim = q.shape
    kv_heads = k.shape[2]
    grouped = q.view(batch, num_queries, kv_heads, heads // kv_heads, head_dim)
    queries = grouped.permute(0, 2, 3, 1, 4)  # (batch, kv_heads, group, queries, head_dim)
    keys = k.permute(0, 2, 3, 1)[:, :, None]  # (batch, kv_heads, 1, head_dim, keys)
    values = v.transpose(1, 2)[:, :, None]  # (batch, kv_heads, 1, keys, head_dim)
    scores = torch.matmul(queries * head_dim**-0.5, keys)  # (batch, kv, group, queries, keys)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    hidden = _hidden(q_positions, k_positions, window)
    scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
    weights = _softmax_with_sinks(scores, sinks.view(kv_heads, -1, 1)).to(v.dtype)
    out = torch.matmul(weights, values).permute(0, 3, 1, 2, 4)
    return out.reshape(q.shape).to(q.dtype), weights


def attend_ragged(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    positions: torch.Tensor,
    seq_lens: list[int],
    sinks: torch.Tensor,
    window: int | None,
) -> torch.Tensor:
    """Self-attention of sequences that lie one behind the other; differentiable.

    Args:
        q: (tokens, heads, head_dim).
        k: (tokens, kv_heads, head_dim).
        v: Like k.
        positions: (tokens,) integers, rising within a sequence.
        seq_lens: Tokens of each sequence; they add up to `tokens`.
        sinks: (heads,).
        window: As in `attend`.

    Returns:
        (tokens, heads, head_dim) of q's dtype.
    """
    longest, count = max(seq_lens), len(seq_lens)
    if all(seq_len == longest for seq_len in seq_lens):
        shape = (count, longest)
        padded = attend(
            q.view(*shape, *q.shape[1:]),
            k.view(*shape, *k.shape[1:]),
            v.view(*shape, *v.shape[1:]),
            positions.view(shape),
            positions.view(shape),
            sinks,
            window,
        )
        return padded.reshape(q.shape)
    lens = torch.tensor(seq_lens, device=q.device)
    valid = torch.arange(longest, device=q.device) < lens[:, None]  # (batch, longest)
    place = valid.flatten().nonzero().squeeze(1)  # (tokens,)

    def pad(x: torch.Tensor, fill: int = 0) -> torch.Tensor:
        padded = x.new_full((count * longest, *x.shape[1:]), fill)
        return padded.index_copy(0, place, x).view(count, longest, *x.shape[1:])

    padded_positions = pad(positions, fill=-1)
    out = attend(pad(q), pad(k), pad(v), padded_positions, padded_positions, sinks, window)
    return out.flatten(0, 1)[place]


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
    """Attention of new tokens over keys in pages, their own included.

    Args:
        q: (tokens, heads, head_dim), the new tokens of every sequence one behind the other.
        k_pages: (pages, page_size, kv_heads, head_dim), in float8_e4m3fn too, or int8
            (..., head_dim + 4): `kernels.int8`.
        v_pages: Like k_pages.
        page_table: int32 (seqs, max_pages): the page that holds positions
            [i * page_size, (i + 1) * page_size). Entries outside every window may be anything.
        query_lens: New tokens of each sequence.
        context_lens: Tokens of each sequence that are in pages, the new ones included.
        sinks: (heads,).
        window: As in `attend`.

    Returns:
        (tokens, heads, head_dim) of q's dtype.
    """
    page_size = k_pages.shape[1]
    outputs: list[torch.Tensor] = []
    for seq_idx, queries in enumerate(q.split(query_lens)):
        context_len = context_lens[seq_idx]
        first_query = context_len - query_lens[seq_idx]
        first_key = 0 if window is None else max(0, first_query - window + 1)
        first_page = first_key // page_size
        pages = page_table[seq_idx, first_page : -(-context_len // page_size)].long()
        k_positions = torch.arange(first_page * page_size, context_len, device=q.device)
        out = attend(
            queries[None],
            _rows(k_pages, pages, q.dtype)[None, : len(k_positions)],
            _rows(v_pages, pages, q.dtype)[None, : len(k_positions)],
            torch.arange(first_query, context_len, device=q.device)[None],
            k_positions[None],
            sinks,
            window,
        )
        outputs.append(out[0])
    return torch.cat(outputs)


def _rows(pages: torch.Tensor, chosen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What some pages hold, one behind the other, in another dtype: (tokens, kv_heads, head_dim)."""
    if pages.dtype is FP8:  # not every operation takes it
        rows = pages.view(torch.uint8)[chosen].view(FP8).to(dtype)
    elif pages.dtype is torch.int8:
        rows = dequantize_rows(pages[chosen], dtype)
    else:
        rows = pages[chosen].to(dtype)
    return rows.flatten(0, 1)


def _hidden(
    q_positions: torch.Tensor, k_positions: torch.Tensor, window: int | None
) -> torch.Tensor:
    """(batch, queries, keys): True where the query must not see the key."""
    distance = q_positions[:, :, None] - k_positions[:, None, :]
    hidden = (distance < 0) | (k_positions < 0)[:, None, :]
    return hidden if window is None else hidden | (distance >= window)


def _softmax_with_sinks(scores: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
    """Softmax over keys and the sink; the sink's share is dropped.

    Args:
        scores: (batch, kv_heads, group, queries, keys).
        sinks: (kv_heads, group, 1).
    """
    column = sinks.to(scores.dtype)[None, ..., None].expand(*scores.shape[:-1], 1)
    return torch.cat((scores, column), dim=-1).softmax(dim=-1)[..., :-1]

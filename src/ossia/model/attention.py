"""Attention: projections around the attention kernels."""

from __future__ import annotations

import torch
from torch import nn

from ossia.config import LayerType, ModelConfig
from ossia.kernels.attention import attend, attend_paged, attend_ragged, attend_with_weights
from ossia.kernels.kv_write import write_kv
from ossia.kernels.rope import apply_rope
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.padded_kv import PaddedKV
from ossia.model.recording import Recording


class Attention(nn.Module):
    """Grouped-query attention with sinks; slides on layers whose type says so."""

    def __init__(self, config: ModelConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.layer_type: LayerType = config.layer_types[layer_idx]
        self.window = config.window_of(layer_idx)
        self.head_dim = config.head_dim
        q_size = config.num_attention_heads * config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        bias = config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, q_size, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=bias)
        self.o_proj = nn.Linear(q_size, config.hidden_size, bias=bias)
        self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads))

    def forward(
        self, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor], batch: ForwardBatch
    ) -> torch.Tensor:
        """(tokens, hidden) to the same; writes keys and values where the batch has a cache."""
        q = apply_rope(self.q_proj(x).unflatten(-1, (-1, self.head_dim)), *rope)
        k = apply_rope(self.k_proj(x).unflatten(-1, (-1, self.head_dim)), *rope)
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim))  # (tokens, kv_heads, head_dim)
        if batch.kv is None:
            out = attend_ragged(q, k, v, batch.positions, batch.seq_lens, self.sinks, self.window)
        elif isinstance(batch.kv, PaddedKV):
            out = self._attend_padded(q, k, v, batch.kv, batch.recording)
        else:
            out = self._attend_paged(q, k, v, batch.seq_lens, batch.kv)
        return self.o_proj(out.flatten(1))

    def _attend_paged(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        query_lens: list[int],
        kv: PagedKV,
    ) -> torch.Tensor:
        k_pages, v_pages = kv.k_pages[self.layer_idx], kv.v_pages[self.layer_idx]
        slots = kv.slots[self.layer_type]
        write_kv(k_pages, k, slots)
        write_kv(v_pages, v, slots)
        return attend_paged(
            q,
            k_pages,
            v_pages,
            kv.page_tables[self.layer_type],
            query_lens,
            kv.context_lens,
            self.sinks,
            self.window,
        )

    def _attend_padded(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        kv: PaddedKV,
        recording: Recording | None,
    ) -> torch.Tensor:
        keys, values = kv.extend(self.layer_idx, k, v)  # (batch, past + new, kv_heads, head_dim)
        key_positions, query_positions = kv.key_positions, kv.query_positions()
        queries = kv.spread(q)  # (batch, new, heads, head_dim)
        if recording is not None and recording.attentions:
            out, weights = attend_with_weights(
                queries, keys, values, query_positions, key_positions, self.sinks, self.window
            )
            recording.attention_weights[self.layer_idx] = weights
            return kv.gather(out)
        # Keys that lie before the first query's window need not be looked at.
        first = 0 if self.window is None else max(0, kv.past_len - self.window + 1)
        out = attend(
            queries,
            keys[:, first:],
            values[:, first:],
            query_positions,
            key_positions[:, first:],
            self.sinks,
            self.window,
        )
        return kv.gather(out)

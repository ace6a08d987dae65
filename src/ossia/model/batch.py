"""ForwardBatch: every tensor that one forward pass takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ossia.config import LayerType
from ossia.model.padded_kv import PaddedKV
from ossia.model.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedKV:
    """Keys and values of earlier tokens, and where this batch's own go.

    Layers of one type share page numbers, so tables and slots come once for each type.

    Args:
        k_pages: One (pages, page_size, kv_heads, head_dim) for each layer.
        v_pages: Like k_pages.
        page_tables: For each layer type int32 (seqs, max_pages): logical page to page number.
            Entries that lie before every query's window may hold anything.
        slots: For each layer type int64 (tokens,): page * page_size + offset of the new tokens.
        context_lens: Tokens of each sequence in pages, this batch's included.
        blocks: What `kernels.attention.blocks_for` gave for the batch, if anything.
    """

    k_pages: tuple[torch.Tensor, ...]
    v_pages: tuple[torch.Tensor, ...]
    page_tables: Mapping[LayerType, torch.Tensor]
    slots: Mapping[LayerType, torch.Tensor]
    context_lens: list[int]
    blocks: torch.Tensor | None = None

    def to(self, device: torch.device) -> PagedKV:
        """With all but the pages, which stay where they are, on a device."""
        return replace(
            self,
            page_tables={kind: table.to(device) for kind, table in self.page_tables.items()},
            slots={kind: slots.to(device) for kind, slots in self.slots.items()},
            blocks=None if self.blocks is None else self.blocks.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardBatch:
    """A ragged batch: the new tokens of several sequences one behind the other.

    Args:
        input_ids: int64 (tokens,).
        positions: int64 (tokens,), rising within a sequence.
        seq_lens: New tokens of each sequence; they add up to `tokens`. Padded rows do without.
        kv: Paged cache, or padded rows with or without a past; None attends among the batch's own
            tokens only. All but the paged cache are differentiable.
        logits_rows: int64 (rows,): tokens whose logits are wanted; None means all.
        inputs_embeds: (tokens, hidden) used instead of embedding `input_ids`.
        recording: Takes what is wanted of the inside of the pass; None keeps nothing.
        recompute: Arguments of `torch.utils.checkpoint.checkpoint`: layers keep their input only
            and are computed again for the gradient. None keeps all activations.
        int8_activations: Whether packed experts take activations rounded to 8 bits.
        fp8_prefill: Whether, of many tokens, attention's projections and the experts are computed with the copies
            that model/fp8_prefill.py has made.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    seq_lens: list[int]
    kv: PagedKV | PaddedKV | None = None
    logits_rows: torch.Tensor | None = None
    inputs_embeds: torch.Tensor | None = None
    recording: Recording | None = None
    recompute: Mapping[str, Any] | None = None
    int8_activations: bool = False
    fp8_prefill: bool = False

    @classmethod
    def from_sequences(
        cls, sequences: list[list[int]], device: torch.device | str = "cpu"
    ) -> ForwardBatch:
        """Whole sequences from position 0, without a cache."""
        seq_lens = [len(ids) for ids in sequences]
        return cls(
            input_ids=torch.tensor([i for ids in sequences for i in ids], device=device),
            positions=torch.cat([torch.arange(seq_len, device=device) for seq_len in seq_lens]),
            seq_lens=seq_lens,
        )

    def to(self, device: torch.device) -> ForwardBatch:
        """A batch over pages, whose tensors are on the CPU, for a model on a device."""
        assert isinstance(self.kv, PagedKV)
        rows = self.logits_rows
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            positions=self.positions.to(device),
            kv=self.kv.to(device),
            logits_rows=None if rows is None else rows.to(device),
        )

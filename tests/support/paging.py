"""A paged cache laid out by hand: shuffled pages, everything unwritten poisoned with NaN."""

from __future__ import annotations

import torch

from ossia.config import ModelConfig
from ossia.kernels.int8 import dequantize_rows, quantize_rows
from ossia.model.batch import ForwardBatch, PagedKV


def poisoned_pages(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Keys or values (pages, page_size, kv_heads, head_dim), all NaN; rows of 8 bits for int8."""
    if dtype is torch.int8:
        return quantize_rows(torch.full(shape, torch.nan))
    return torch.full(shape, torch.nan, dtype=dtype)


def as_floats(pages: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What pages hold."""
    return dequantize_rows(pages, dtype) if pages.dtype is torch.int8 else pages.to(dtype)


class HandPagedCache:
    """Pages for a fixed set of sequences, each with room for `max_len` tokens."""

    def __init__(
        self, config: ModelConfig, num_seqs: int, max_len: int, page_size: int, dtype=torch.float32
    ) -> None:
        self.page_size = page_size
        pages_each = -(-max_len // page_size)
        shape = (num_seqs * pages_each, page_size, config.num_key_value_heads, config.head_dim)
        self.k = tuple(poisoned_pages(shape, dtype) for _ in config.layer_types)
        self.v = tuple(poisoned_pages(shape, dtype) for _ in config.layer_types)
        # Each layer type has page numbers of its own, so mixing the tables up cannot pass.
        self.tables = {
            kind: torch.randperm(shape[0]).view(num_seqs, pages_each).int()
            for kind in ("full_attention", "sliding_attention")
        }
        self.lens = [0] * num_seqs

    def batch(self, new_ids: list[list[int]]) -> ForwardBatch:
        """The next tokens of every sequence (none may be empty) as a batch over the pages."""
        positions = [
            torch.arange(start, start + len(ids))
            for start, ids in zip(self.lens, new_ids, strict=True)
        ]
        slots = {
            kind: torch.cat(
                [
                    table[seq, place // self.page_size].long() * self.page_size
                    + place % self.page_size
                    for seq, place in enumerate(positions)
                ]
            )
            for kind, table in self.tables.items()
        }
        self.lens = [start + len(ids) for start, ids in zip(self.lens, new_ids, strict=True)]
        kv = PagedKV(
            k_pages=self.k,
            v_pages=self.v,
            page_tables=self.tables,
            slots=slots,
            context_lens=list(self.lens),
        )
        return ForwardBatch(
            input_ids=torch.tensor([i for ids in new_ids for i in ids]),
            positions=torch.cat(positions),
            seq_lens=[len(ids) for ids in new_ids],
            kv=kv,
        )

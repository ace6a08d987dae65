"""BatchBuilder: a StepPlan as the tensors of a ForwardBatch."""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ossia.cache.layout import KVLayout
from ossia.cache.pool import KVPool
from ossia.config import LayerType
from ossia.engine.plan import PlanEntry, StepPlan
from ossia.kernels.attention import blocks_for
from ossia.model.batch import ForwardBatch, PagedKV

_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BuiltBatch:
    """A forward pass and what its logits are for.

    Args:
        forward: The model's argument.
        draw_rows: For each of the plan's draws its row of logits.
        scored_rows: For each of the plan's entries the first row that scores prompt tokens, and
            how many follow it; (0, 0) where nothing is scored.
    """

    forward: ForwardBatch
    draw_rows: list[int]
    scored_rows: list[tuple[int, int]]


class BatchBuilder:
    """Builds batches over one pool.

    Args:
        layout: Groups and page size.
        pool: The tensors that page numbers refer to.
        heads: Query heads of the model.
        device: Where it is.
        int8_activations: As in ForwardBatch.
        fp8_prefill: As in ForwardBatch.
    """

    def __init__(
        self,
        layout: KVLayout,
        pool: KVPool,
        heads: int,
        device: torch.device,
        *,
        int8_activations: bool = False,
        fp8_prefill: bool = False,
    ) -> None:
        self._int8_activations = int8_activations
        self._fp8_prefill = fp8_prefill
        self._layout = layout
        self._heads = heads
        self._pool = pool
        self._device = device

    def build(self, plan: StepPlan) -> BuiltBatch:
        """Gather ids, positions, page tables and slots, on the CPU. No Python work per page."""
        entries = plan.entries
        input_ids: list[int] = []
        for entry in entries:
            ids = entry.sequence.token_ids
            input_ids += ids[entry.sequence.num_computed : entry.end]
        lens, ends = [entry.num_tokens for entry in entries], [entry.end for entry in entries]
        owner = np.repeat(np.arange(len(entries)), lens)  # (tokens,)
        positions = np.arange(len(input_ids)) + (np.array(ends) - np.cumsum(lens))[owner]
        rows, draw_rows, scored_rows = _logits_rows(entries)
        return BuiltBatch(
            forward=ForwardBatch(
                input_ids=_integers(input_ids),
                positions=torch.from_numpy(positions),
                seq_lens=lens,
                kv=self._paged(entries, owner, positions, lens, ends),
                logits_rows=_integers(rows),
                int8_activations=self._int8_activations,
                fp8_prefill=self._fp8_prefill,
            ),
            draw_rows=draw_rows,
            scored_rows=scored_rows,
        )

    def idle(self, tokens: int) -> ForwardBatch:
        """A batch of one sequence whose keys and values go to no page; what it says is worth nothing.

        Only kernels that know negative slots run it, as those do that run beside graphs.
        """
        groups = self._layout.groups
        nowhere = torch.full((tokens,), -1)
        blocks = blocks_for([tokens], [tokens], self._heads, self._layout.kv_heads, self._device)
        return ForwardBatch(
            input_ids=torch.zeros(tokens, dtype=torch.int64),
            positions=torch.zeros(tokens, dtype=torch.int64),
            seq_lens=[tokens],
            kv=PagedKV(
                k_pages=self._pool.k_pages,
                v_pages=self._pool.v_pages,
                page_tables={
                    kind: torch.zeros(1, -(-tokens // size), dtype=torch.int32)
                    for kind, size in zip(groups, self._layout.page_sizes, strict=True)
                },
                slots=dict.fromkeys(groups, nowhere),
                context_lens=[tokens],
                blocks=blocks,
            ),
            logits_rows=torch.zeros(1, dtype=torch.int64),
            int8_activations=self._int8_activations,
            fp8_prefill=self._fp8_prefill,
        )

    def _paged(
        self,
        entries: list[PlanEntry],
        owner: _Integers,
        positions: _Integers,
        lens: list[int],
        context_lens: list[int],
    ) -> PagedKV:
        page_tables: dict[LayerType, torch.Tensor] = {}
        slots: dict[LayerType, torch.Tensor] = {}
        for group, layer_type in enumerate(self._layout.groups):
            size = self._layout.page_sizes[group]
            place, within = np.divmod(positions, size)
            table = _table(
                [entry.sequence.own_pages.tables[group] for entry in entries]
            )  # (seqs, max_pages)
            page = table[owner, place].astype(np.int64)  # (tokens,)
            page_tables[layer_type] = torch.from_numpy(table)
            slots[layer_type] = torch.from_numpy(page * size + within)
        return PagedKV(
            k_pages=self._pool.k_pages,
            v_pages=self._pool.v_pages,
            page_tables=page_tables,
            slots=slots,
            context_lens=context_lens,
            blocks=blocks_for(
                lens, context_lens, self._heads, self._layout.kv_heads, self._device
            ),
        )  # fmt: skip


def _integers(numbers: list[int]) -> torch.Tensor:
    """int64; by numpy, which takes a tenth of the time that torch takes for a long list."""
    return torch.from_numpy(np.array(numbers, dtype=np.int64))


def _table(tables: Ordered[array[int]]) -> npt.NDArray[np.int32]:
    """(seqs, max_pages), short rows filled with 0."""
    padded = np.zeros((len(tables), max(map(len, tables))), dtype=np.int32)
    for row, table in enumerate(tables):
        padded[row, : len(table)] = table
    return padded


def _logits_rows(
    entries: list[PlanEntry],
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Which tokens need logits; which of those rows draw, and which score the prompt."""
    rows: list[int] = []
    draw_rows: list[int] = []
    scored_rows: list[tuple[int, int]] = []
    start = 0
    for entry in entries:
        last = start + entry.num_tokens - 1
        scored = (0, 0)
        if entry.sequence.wants_prompt_logprobs:
            # The prompt's last token predicts an output token, so its row scores nothing.
            prompt_left = len(entry.sequence.request.prompt_ids) - entry.sequence.num_computed
            scored = (len(rows), min(entry.num_tokens, prompt_left - 1))
            rows += range(start, last + 1)
        elif entry.draws:
            rows.append(last)
        draw_rows += [len(rows) - 1] * len(entry.draws)
        scored_rows.append(scored)
        start = last + 1
    return rows, draw_rows, scored_rows

"""ForwardGraphs: passes of up to a few hundred new tokens, each as one CUDA graph.

Launching a model's operations one by one takes the host longer than the device needs for a short
prompt. So passes are captured once for a few numbers of tokens, and a batch runs in the smallest one
that holds it. Tokens left over write nowhere and see nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ossia.config import LayerType
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.heads import CausalLM

_SIZES = (32, 64, 128, 256, 512)
_MOST = _SIZES[-1]
_FEW_ROWS = 4


@dataclass(frozen=True, slots=True)
class _Shape:
    """Of a captured pass: new tokens, blocks of queries, rows of logits."""

    tokens: int
    blocks: int
    rows: int


class ForwardGraphs:
    """Passes of one model over one set of pages.

    Args:
        model: Its operations run on CUDA without asking the host anything (`decode_step.why_not`).
        pages: Keys and values of each layer.
        groups: Layer types that have page tables.
        max_sequences: Sequences of a batch at most.
        max_pages: Of a sequence in a group.
        queries: New tokens of a block at most.
    """

    def __init__(
        self,
        model: CausalLM,
        pages: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]],
        groups: Sequence[LayerType],
        max_sequences: int,
        max_pages: int,
        queries: int,
    ) -> None:
        self._model, self._pages, self._groups = model, pages, tuple(groups)
        self._queries, self._max_sequences = queries, max_sequences
        device = pages[0][0].device
        # Lines: ids, positions, rows of logits, then slots of each group.
        lines = 3 + len(self._groups)
        self._longs = torch.zeros(lines, _MOST, dtype=torch.int64, device=device)
        self._blocks = torch.zeros(_MOST, 4, dtype=torch.int32, device=device)
        self._tables: dict[LayerType, torch.Tensor] = {
            group: torch.zeros(max_sequences, max_pages, dtype=torch.int32, device=device)
            for group in self._groups
        }
        self._host_longs = torch.zeros(lines, _MOST, dtype=torch.int64, pin_memory=True)
        self._host_blocks = torch.zeros(_MOST, 4, dtype=torch.int32, pin_memory=True)
        self._copied = torch.cuda.Event()
        self._memory = torch.cuda.graph_pool_handle()
        # What every graph leaves, so that none keeps rows of a whole vocabulary of its own.
        self._logits = torch.empty(
            max(_FEW_ROWS, self._many_rows(_MOST)), model.config.vocab_size,
            dtype=model.lm_head.weight.dtype, device=device,
        )  # fmt: skip
        self._ready: dict[_Shape, torch.cuda.CUDAGraph] = {}

    def takes(self, batch: ForwardBatch) -> bool:
        """Whether a batch fits."""
        kv = batch.kv
        return (
            isinstance(kv, PagedKV)
            and kv.blocks is not None
            and batch.logits_rows is not None
            and 0 < len(batch.input_ids) <= _MOST
            and len(batch.seq_lens) <= self._max_sequences
            and len(batch.logits_rows) <= self._max_sequences
            and batch.recording is batch.inputs_embeds is batch.recompute is None
        )

    def run(self, batch: ForwardBatch) -> torch.Tensor:
        """Logits of a batch that `takes` allows, whose tensors are on the CPU; the model's dtype.

        Returns:
            (rows, vocab), overwritten by the next run.
        """
        kv, rows = batch.kv, batch.logits_rows
        assert isinstance(kv, PagedKV)
        assert kv.blocks is not None
        assert rows is not None
        tokens = next(size for size in _SIZES if size >= len(batch.input_ids))
        blocks = self._with_rest(kv.blocks, len(batch.input_ids), tokens)
        few_blocks = self._few_blocks(tokens)
        shape = _Shape(
            tokens=tokens,
            blocks=few_blocks if len(blocks) <= few_blocks else tokens,
            rows=_FEW_ROWS if len(rows) <= _FEW_ROWS else self._many_rows(tokens),
        )
        if shape not in self._ready:
            self._ready[shape] = self._capture(shape)
        self._stage(batch, kv, blocks, shape)
        self._ready[shape].replay()
        return self._logits[: len(rows)]

    def warm_up(self) -> None:
        """Capture the graphs of prompts, alone and beside sequences that decode."""
        for tokens in _SIZES:
            few = self._few_blocks(tokens)
            shapes = [(few, _FEW_ROWS)]
            if self._max_sequences > _FEW_ROWS:
                many = self._many_rows(tokens)
                shapes += [(few, many), (tokens, many)]
            for blocks, rows in shapes:
                shape = _Shape(tokens, blocks, rows)
                if shape not in self._ready:
                    self._ready[shape] = self._capture(shape)

    def _many_rows(self, tokens: int) -> int:
        """Rows of logits that a batch of so many tokens has at most: one a token and a sequence."""
        return min(tokens, self._max_sequences)

    def _few_blocks(self, tokens: int) -> int:
        return tokens // self._queries + 4

    def _with_rest(self, blocks: torch.Tensor, used: int, size: int) -> torch.Tensor:
        """Blocks for the tokens left over, too; at negative positions they see nothing."""
        rest = [
            (0, first, count := min(self._queries, size - first), -count)
            for first in range(used, size, self._queries)
        ]
        return torch.cat((blocks, torch.tensor(rest, dtype=torch.int32).reshape(-1, 4)))

    def _stage(self, batch: ForwardBatch, kv: PagedKV, blocks: torch.Tensor, shape: _Shape) -> None:
        assert batch.logits_rows is not None
        self._copied.synchronize()
        lines = [batch.input_ids, batch.positions, batch.logits_rows]
        lines += [kv.slots[group] for group in self._groups]
        for idx, (line, values) in enumerate(zip(self._host_longs, lines, strict=True)):
            line[: len(values)] = values
            line[len(values) :] = -1 if idx >= 3 else 0  # slots: nowhere
        self._host_blocks[: len(blocks)] = blocks
        self._host_blocks[len(blocks) : shape.blocks] = 0
        self._longs.copy_(self._host_longs, non_blocking=True)
        self._blocks.copy_(self._host_blocks, non_blocking=True)
        for group, table in self._tables.items():
            given = kv.page_tables[group]
            table[: given.shape[0], : given.shape[1]] = given.pin_memory().to(
                table.device, non_blocking=True
            )
        self._copied.record()

    def _capture(self, shape: _Shape) -> torch.cuda.CUDAGraph:
        ids, positions, rows, *slots = (line[: shape.tokens] for line in self._longs)
        forward = ForwardBatch(
            input_ids=ids,
            positions=positions,
            seq_lens=[],
            kv=PagedKV(
                k_pages=self._pages[0],
                v_pages=self._pages[1],
                page_tables=self._tables,
                slots=dict(zip(self._groups, slots, strict=True)),
                context_lens=[],
                blocks=self._blocks[: shape.blocks],
            ),
            logits_rows=rows[: shape.rows],
        )
        self._longs.zero_()
        self._longs[3:] = -1
        self._blocks.zero_()
        self._model(forward)  # compiles and loads what it needs; nothing is written to pages
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            self._logits[: shape.rows].copy_(self._model(forward))
        return graph

"""ForwardGraphs: passes of up to about a thousand new tokens, each as one CUDA graph.

Launching kernels one by one takes the host longer than the device needs for a short prompt. So passes
are captured once for a few numbers of tokens, and a batch runs in the smallest one that holds it.
Tokens left over are at negative positions: they write nowhere, see nothing and go to no expert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from ossia.config import LayerType
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.decode_memory import DecodeMemory
from ossia.model.heads import CausalLM
from ossia.model.pass_chain import PassChain, PassInputs

_SIZES = (32, 64, 128, 256, 512, 768, 1024)
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
        model: Laid out as `decode_step.relay_weights` does it.
        pages: Keys and values of each layer.
        groups: Layer types that have page tables.
        memory: Holds passes as `pass_sizes` says.
        max_sequences: Sequences of a batch at most.
        max_pages: Of a sequence in a group.
        queries: New tokens of a block at most.
        sizes: What `graph_sizes` says.
    """

    def __init__(
        self,
        model: CausalLM,
        pages: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]],
        groups: Sequence[LayerType],
        memory: DecodeMemory,
        max_sequences: int,
        max_pages: int,
        queries: int,
        sizes: Sequence[int],
    ) -> None:
        self._model, self._pages, self._groups = model, pages, tuple(groups)
        self._queries, self._max_sequences, self._memory = queries, max_sequences, memory
        self._sizes, self.most_tokens = tuple(sizes), sizes[-1]
        device = pages[0][0].device
        # Ids, positions, rows of logits, slots of each group; then the blocks.
        lines = 3 + len(self._groups)
        numbers = (lines + 4) * self.most_tokens
        tables = len(self._groups), max_sequences * max_pages
        self._numbers = torch.zeros(numbers, dtype=torch.int32, device=device)
        self._tables = torch.zeros(tables, dtype=torch.int32, device=device)
        self._host_numbers = torch.zeros(numbers, dtype=torch.int32, pin_memory=True)
        self._host_tables = torch.zeros(tables, dtype=torch.int32, pin_memory=True)
        self._lines = self._host_numbers.numpy()[: lines * self.most_tokens].reshape(lines, -1)
        self._blocks = self._host_numbers.numpy()[lines * self.most_tokens :].reshape(-1, 4)
        self._copied = torch.cuda.Event()
        self._temporary = torch.cuda.graph_pool_handle()
        self._ready: dict[_Shape, tuple[torch.cuda.CUDAGraph, PassChain]] = {}

    def takes(self, batch: ForwardBatch) -> bool:
        """Whether a batch fits."""
        kv = batch.kv
        return (
            isinstance(kv, PagedKV)
            and kv.blocks is not None
            and batch.logits_rows is not None
            and 0 < len(batch.input_ids) <= self.most_tokens
            and len(batch.seq_lens) <= self._max_sequences
            and len(batch.logits_rows) <= self._max_sequences
            and batch.recording is batch.inputs_embeds is batch.recompute is None
        )

    def run(self, batch: ForwardBatch) -> torch.Tensor:
        """Logits of a batch that `takes` allows, whose tensors are on the CPU.

        Returns:
            float32 (rows, vocab), overwritten by the next run and by steps over the same memory.
        """
        kv, rows = batch.kv, batch.logits_rows
        assert isinstance(kv, PagedKV)
        assert kv.blocks is not None
        assert rows is not None
        tokens = next(size for size in self._sizes if size >= len(batch.input_ids))
        few_blocks = self._few_blocks(tokens)
        has_few = len(kv.blocks) <= few_blocks
        shape = _Shape(
            tokens=tokens,
            blocks=few_blocks if has_few else tokens,
            rows=(
                _FEW_ROWS
                if has_few and len(rows) <= _FEW_ROWS
                else _many_rows(tokens, self._max_sequences)
            ),
        )
        if shape not in self._ready:
            self._ready[shape] = self._capture(shape)
        self._stage(batch, kv, kv.blocks)
        graph, chain = self._ready[shape]
        graph.replay()
        return chain.logits[: len(rows)]

    def warm_up(self) -> None:
        """Capture the graphs of prompts, alone and beside sequences that decode."""
        for tokens in self._sizes:
            few = self._few_blocks(tokens)
            shapes = [(few, _FEW_ROWS)]
            if self._max_sequences > _FEW_ROWS:
                many = _many_rows(tokens, self._max_sequences)
                shapes += [(few, many), (tokens, many)]
            for blocks, rows in shapes:
                shape = _Shape(tokens, blocks, rows)
                if shape not in self._ready:
                    self._ready[shape] = self._capture(shape)

    def _few_blocks(self, tokens: int) -> int:
        return tokens // self._queries + 4

    def _stage(self, batch: ForwardBatch, kv: PagedKV, blocks: torch.Tensor) -> None:
        assert batch.logits_rows is not None
        self._copied.synchronize()
        lines = [batch.input_ids, batch.positions, batch.logits_rows]
        lines += [kv.slots[group] for group in self._groups]
        for idx, (line, values) in enumerate(zip(self._lines, lines, strict=True)):
            line[: len(values)] = values.numpy()
            line[len(values) :] = 0 if idx in (0, 2) else -1  # at no position, to no slot
        tables = [kv.page_tables[group].numpy() for group in self._groups]
        width, count = max(table.shape[1] for table in tables), len(batch.seq_lens)
        self._blocks[: len(blocks)] = blocks.numpy()
        self._blocks[: len(blocks), 0] *= width  # where the sequence's pages begin
        self._blocks[len(blocks) :] = 0
        self._numbers.copy_(self._host_numbers, non_blocking=True)
        for idx, table in enumerate(tables):
            line = self._host_tables[idx, : count * width]
            line.numpy().reshape(count, width)[:, : table.shape[1]] = table
            self._tables[idx, : count * width].copy_(line, non_blocking=True)
        self._copied.record()

    def _capture(self, shape: _Shape) -> tuple[torch.cuda.CUDAGraph, PassChain]:
        lines = self._numbers[: self._lines.size].view(self._lines.shape)
        ids, positions, _, *slots = (line[: shape.tokens] for line in lines)
        inputs = PassInputs(
            ids=ids,
            positions=positions,
            rows=lines[2, : shape.rows],
            kv=PagedKV(
                k_pages=self._pages[0],
                v_pages=self._pages[1],
                # Rows of one number: blocks say where a sequence's pages begin.
                page_tables={
                    group: table[:, None]
                    for group, table in zip(self._groups, self._tables, strict=True)
                },
                slots=dict(zip(self._groups, slots, strict=True)),
                context_lens=[],
                blocks=self._numbers[self._lines.size :].view(-1, 4)[: shape.blocks],
            ),
        )
        self._numbers.zero_()
        lines[1].fill_(-1)
        lines[3:] = -1
        chain = PassChain(self._model, inputs, self._memory)
        chain.enqueue()  # compiles and loads what it needs; nothing is written to pages
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._temporary, capture_error_mode="thread_local"):
            chain.enqueue()
        return graph, chain


def graph_sizes(most: int) -> tuple[int, ...]:
    """Numbers of tokens that passes are captured for, where no pass has more than `most`."""
    return tuple(size for before, size in pairwise((0, *_SIZES)) if before < most)


def pass_sizes(sizes: Sequence[int], max_sequences: int) -> Mapping[int, int]:
    """For the memory of passes: numbers of tokens, and rows of logits at most."""
    return {tokens: max(_FEW_ROWS, _many_rows(tokens, max_sequences)) for tokens in sizes}


def _many_rows(tokens: int, max_sequences: int) -> int:
    """Rows of logits that a batch of so many tokens has at most: one a token and a sequence."""
    return min(tokens, max_sequences)

"""CpuStep: one new token for each of some sequences on a CPU.

What it computes is `CpuDecoder.run` and the unembedding, bit for bit. Only its memory is there once and for
all, and no operation of torch's lies between the kernels: behind gigabytes of weights every line of Python
finds the caches cold.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ossia.config import LayerType
from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.kernel_library import (
    DecoderCall,
    LinearCall,
    NarrowLogitsCall,
    StepCall,
)
from ossia.model.cpu_decoder import CpuDecoder, two_pointers
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear

_FEW_ROWS = 8  # with an unembedding in bfloat16; torch's product of more is the faster one
_MOST_ROWS = 64
_FIRST_POSITIONS = 1024  # whose cosines and sines are made at once, and then twice as many


class CpuStep:
    """Steps of one model over one set of pages.

    Args:
        model: `cpu_decoder.why_not` and `why_not` have nothing against it.
        decoder: Its layers.
        pages: Keys and values of each layer, of page_size tokens each.
        groups: Layer types in the order of the tables.
        max_context: Longest sequence.
        valid_end: Ids from here on are never the most likely.
        int8_activations: As in ForwardBatch.

    Attributes:
        max_rows: Sequences of a step at most.
    """

    def __init__(
        self,
        model: CausalLM,
        decoder: CpuDecoder,
        pages: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]],
        groups: Sequence[LayerType],
        max_context: int,
        valid_end: int,
        *,
        int8_activations: bool,
    ) -> None:
        head = model.lm_head
        assert isinstance(head, Linear)
        self.max_rows = rows = _FEW_ROWS if head.int8 is None else _MOST_ROWS
        self._model, self._made_of = model, _parts_of(model)
        self._embeddings = model.model.embed_tokens.weight.data.view(torch.int16).numpy()
        self._rotary, self._decoder, self._pages, self._groups = (
            model.model.rotary, decoder, pages, tuple(groups)
        )  # fmt: skip
        self._page_size = pages[0][0].shape[1]
        half = model.config.head_dim // 2
        self._x = np.zeros((rows, model.config.hidden_size), dtype=np.int16)  # bits of bfloat16
        self._rope = np.zeros((2, rows, half), dtype=np.float32)
        self._cos_sin = np.zeros((2, 0, half), dtype=np.float32)  # by position
        self._contexts = np.zeros(rows, dtype=np.int64)
        self._ones = np.ones(rows, dtype=np.int64)
        self._slots = np.zeros((2, rows), dtype=np.int64)
        width = -(-max_context // self._page_size) + 1
        self._tables = np.zeros((2, rows, width), dtype=np.int32)
        self._logits = np.zeros((rows, head.out_features), dtype=np.int16)
        self._wide = np.zeros((rows, head.out_features), dtype=np.float32)
        self._result = torch.from_numpy(self._wide)
        self._ids = np.zeros(rows, dtype=np.int64)
        self._peaks = np.zeros(rows, dtype=np.float32)
        decoder.use_pages(pages, self._groups)
        self._layers = DecoderCall(
            x=_address(self._x), cos=_address(self._rope[0]), sin=_address(self._rope[1]),
            query_lens=_address(self._ones), context_lens=_address(self._contexts),
            slots=two_pointers(map(_address, self._slots)),
            page_tables=two_pointers(map(_address, self._tables)),
            max_pages=(ctypes.c_int64 * 2)(width, width), activations=int(int8_activations),
            **decoder.constants(),
        )  # fmt: skip
        matrix = (
            {"weight": head.weight.data_ptr()}
            if head.int8 is None
            else {
                "weight": head.int8.codes.data_ptr(),
                "scales": head.int8.scales.data_ptr(),
                "activations": int(head.int8_activations),
            }
        )
        self._unembedding = LinearCall(
            x=_address(self._x), out=_address(self._logits), rows=head.out_features,
            columns=head.in_features, **matrix,
        )  # fmt: skip
        self._drawing = NarrowLogitsCall(
            logits=_address(self._logits), ids=_address(self._ids), peaks=_address(self._peaks),
            vocab=valid_end, stride=head.out_features,
        )  # fmt: skip
        one, other = ctypes.pointer(self._layers), ctypes.pointer(self._unembedding)
        self._step = StepCall(layers=one, unembedding=other)
        self._drawn_step = StepCall(
            layers=one, unembedding=other, drawing=ctypes.pointer(self._drawing)
        )

    def is_current(self) -> bool:
        """Whether nobody has replaced the embeddings since, or looks at what they give."""
        return why_not(self._model) is None and self._made_of == _parts_of(self._model)

    def most_likely(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        tables: Sequence[Sequence[array[int]]],
    ) -> tuple[list[int], list[float]]:
        """One step.

        Args:
            ids: The new token of each row, at most `max_rows`.
            positions: Their positions.
            tables: For each row and group its page numbers, the new token's included.

        Returns:
            Of each row the most likely valid id, the lowest among equals, and its logit.

        Raises:
            KernelError: memory is out.
        """
        rows = self._run(self._drawn_step, ids, positions, tables)
        return self._ids[:rows].tolist(), self._peaks[:rows].tolist()

    def logits(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        tables: Sequence[Sequence[array[int]]],
    ) -> torch.Tensor:
        """The same step.

        Returns:
            float32 (rows, vocab), until the next step; they may be changed.
        """
        rows, kernels = self._run(self._step, ids, positions, tables), load()
        assert kernels is not None
        numbers = rows * self._wide.shape[1]
        narrow, wide = _address(self._logits), _address(self._wide)
        kernels.call("ossia_widen", narrow, wide, numbers, num_threads())
        return self._result[:rows]

    def _run(
        self,
        step: StepCall,
        ids: Sequence[int],
        positions: Sequence[int],
        tables: Sequence[Sequence[array[int]]],
    ) -> int:
        """How many rows it had."""
        kernels, rows = load(), len(ids)
        assert kernels is not None
        assert rows <= self.max_rows, rows
        self._decoder.use_pages(self._pages, self._groups)
        self._fill(ids, positions, tables)
        layers, unembedding, drawing = self._layers, self._unembedding, self._drawing
        layers.seqs = layers.tokens = unembedding.tokens = drawing.rows = rows
        layers.threads = unembedding.threads = drawing.threads = num_threads()
        kernels.call("ossia_run_step", step)
        return rows

    def _fill(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        tables: Sequence[Sequence[array[int]]],
    ) -> None:
        rows, size = len(ids), self._page_size
        if max(positions) >= self._cos_sin.shape[1]:
            self._grow_table(max(positions))
        for row, (token_id, position, own) in enumerate(zip(ids, positions, tables, strict=True)):
            self._x[row] = self._embeddings[token_id]
            self._rope[:, row] = self._cos_sin[:, position]
            place, within = divmod(position, size)
            for group, table in enumerate(own):
                self._slots[group, row] = table[place] * size + within
                self._tables[group, row, : len(table)] = table
        self._contexts[:rows] = positions
        self._contexts[:rows] += 1

    def _grow_table(self, position: int) -> None:
        """Cosines and sines up to a position, and further."""
        count = max(_FIRST_POSITIONS, 2 * self._cos_sin.shape[1], position + 1)
        self._cos_sin = np.stack([part.numpy() for part in self._rotary(torch.arange(count))])


def why_not(model: CausalLM) -> str | None:
    """Why a model's steps cannot run without torch, where its layers can; None if they can."""
    embedding, head = model.model.embed_tokens, model.lm_head
    if type(embedding) is not nn.Embedding or type(head) is not Linear:
        return "needs plain embeddings"
    if any(part._forward_hooks or part._forward_pre_hooks for part in (embedding, head)):
        return "somebody looks at what its embeddings give"
    if not embedding.weight.is_contiguous() or not head.weight.is_contiguous():
        return "needs contiguous embeddings"
    return None if head.bias is None else "needs an unembedding without a bias"


def _parts_of(model: CausalLM) -> tuple[int, int, int | None]:
    """Where that lies which a step reads beside the layers."""
    head = model.lm_head
    int8 = head.int8 if isinstance(head, Linear) else None
    return (
        model.model.embed_tokens.weight.data_ptr(),
        head.weight.data_ptr(),
        None if int8 is None else int8.codes.data_ptr(),
    )


def _address(numbers: np.ndarray) -> int:
    return numbers.ctypes.data

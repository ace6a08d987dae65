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
from ossia.kernels.cpu.calls import DecoderCall, LinearCall, NarrowLogitsCall, StepCall
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
        self._model, self._parts = model, (model.model.embed_tokens, head)
        self._made_of = _made_of(*self._parts)
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
        self._width = width = -(-max_context // self._page_size) + 1
        self._tables = np.zeros((2, rows, width), dtype=np.int32)
        self._logits = np.zeros((rows, head.out_features), dtype=np.int16)
        self._wide = np.zeros((rows, head.out_features), dtype=np.float32)
        self._result = torch.from_numpy(self._wide)
        # What a step is given and gives, as arrays that take and return Python's numbers quickly.
        self._given_ids, self._positions = (ctypes.c_int64 * rows)(), (ctypes.c_int64 * rows)()
        self._pages_of = (ctypes.c_void_p * rows)(), (ctypes.c_void_p * rows)()
        self._page_counts = (ctypes.c_int64 * rows)(), (ctypes.c_int64 * rows)()
        self._ids, self._peaks = (ctypes.c_int64 * rows)(), (ctypes.c_float * rows)()
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
            logits=_address(self._logits), ids=ctypes.addressof(self._ids),
            peaks=ctypes.addressof(self._peaks), vocab=valid_end, stride=head.out_features,
        )  # fmt: skip
        embedding = model.model.embed_tokens.weight
        self._step = StepCall(
            layers=ctypes.pointer(self._layers), unembedding=ctypes.pointer(self._unembedding),
            embeddings=embedding.data_ptr(), vocab=len(embedding), kinds=len(self._groups),
            ids=ctypes.addressof(self._given_ids), positions=ctypes.addressof(self._positions),
            pages=two_pointers(map(ctypes.addressof, self._pages_of)),
            page_counts=two_pointers(map(ctypes.addressof, self._page_counts)),
            x=_address(self._x), layers_cos=_address(self._rope[0]),
            layers_sin=_address(self._rope[1]), context_lens=_address(self._contexts),
            slots=self._layers.slots, page_tables=self._layers.page_tables,
        )  # fmt: skip

    def is_current(self) -> bool:
        """Whether nobody has replaced the embeddings since, or looks at what they give."""
        model, parts = self._model, self._parts
        if (model.model.embed_tokens, model.lm_head) != parts or any(map(_is_watched, parts)):
            return False
        return self._made_of == _made_of(*parts)

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
        rows = self._run(ids, positions, tables, draws=True)
        return self._ids[:rows], self._peaks[:rows]

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
        rows, kernels = self._run(ids, positions, tables, draws=False), load()
        assert kernels is not None
        numbers = rows * self._wide.shape[1]
        narrow, wide = _address(self._logits), _address(self._wide)
        kernels.call("ossia_widen", narrow, wide, numbers, num_threads())
        return self._result[:rows]

    def _run(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        tables: Sequence[Sequence[array[int]]],
        *,
        draws: bool,
    ) -> int:
        """How many rows it had."""
        kernels, rows = load(), len(ids)
        assert kernels is not None
        assert rows <= self.max_rows, rows
        self._decoder.use_pages(self._pages, self._groups)
        if max(positions) >= self._cos_sin.shape[1]:
            self._grow_table(max(positions))
        self._given_ids[:rows], self._positions[:rows] = ids, positions
        for row, own in enumerate(tables):
            for addresses, counts, table in zip(
                self._pages_of, self._page_counts, own, strict=False
            ):
                assert len(table) <= self._width, len(table)
                addresses[row], counts[row] = table.buffer_info()
        layers, unembedding, drawing = self._layers, self._unembedding, self._drawing
        layers.seqs = layers.tokens = unembedding.tokens = drawing.rows = rows
        layers.threads = unembedding.threads = drawing.threads = num_threads()
        self._step.drawing = ctypes.pointer(drawing) if draws else None
        kernels.call("ossia_run_step", self._step)
        return rows

    def _grow_table(self, position: int) -> None:
        """Cosines and sines up to a position, and further."""
        count = max(_FIRST_POSITIONS, 2 * self._cos_sin.shape[1], position + 1)
        self._cos_sin = np.stack([part.numpy() for part in self._rotary(torch.arange(count))])
        self._step.cos, self._step.sin = map(_address, self._cos_sin)


def why_not(model: CausalLM) -> str | None:
    """Why a model's steps cannot run without torch, where its layers can; None if they can."""
    embedding, head = model.model.embed_tokens, model.lm_head
    if type(embedding) is not nn.Embedding or type(head) is not Linear:
        return "needs plain embeddings"
    if _is_watched(embedding) or _is_watched(head):
        return "somebody looks at what its embeddings give"
    if not embedding.weight.is_contiguous() or not head.weight.is_contiguous():
        return "needs contiguous embeddings"
    return None if head.bias is None else "needs an unembedding without a bias"


def _is_watched(part: nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks)


def _made_of(embedding: nn.Embedding, head: Linear) -> tuple[int, int, int | None, bool]:
    """Where that lies which a step reads beside the layers, and whether that is all of it."""
    int8 = head.int8
    return (
        embedding.weight.data_ptr(),
        head.weight.data_ptr(),
        None if int8 is None else int8.codes.data_ptr(),
        head.bias is None,
    )


def _address(numbers: np.ndarray) -> int:
    return numbers.ctypes.data

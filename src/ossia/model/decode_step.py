"""DecodeStep: one token for each of up to 512 sequences, the whole model as one CUDA graph.

The chain of kernels is the model's arithmetic (`Decoder.run` and the unembedding) for a batch whose
sequences have one new token each. A graph is captured for a few numbers of rows; a batch runs in the
smallest one that holds it, with the rows left over at position -1, where kernels do nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ossia.config import LayerType, ModelConfig
from ossia.kernels.backend import choose
from ossia.kernels.decode import FEW_TOKENS
from ossia.kernels.decode.attention import HEAD_DIM, MAX_GROUP
from ossia.kernels.decode.draw import CHANCE_NUMBERS
from ossia.kernels.decode.experts import MAX_EXPERTS, MAX_TOP_K
from ossia.kernels.fp8 import FP8
from ossia.model.decode_chain import DecodeChain, StepInputs
from ossia.model.decode_memory import DecodeMemory
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from ossia.model.token_sets import TokenSets
from ossia.model.transformer import DecoderLayer

_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
MAX_ROWS = _SIZES[-1]
"""Sequences of a step at most."""
_MAX_SCALE = 190  # experts.cuh says why
_MAX_HIDDEN, _MAX_HEADS = 3520, 4160  # whose operands fit shared memory, with room
# Places in the buffer of inputs: numbers for each row, then one, then each row's chance, then the tables.
_IDS, _POSITIONS, _WIDTH, _CHANCES = 0, MAX_ROWS, 2 * MAX_ROWS, 2 * MAX_ROWS + 16
_TABLE = _CHANCES + CHANCE_NUMBERS * MAX_ROWS


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step leaves; the next step overwrites logits and ids.

    Args:
        logits: float32 (rows, vocab).
        ids: int32 (rows,): what was drawn, on the device; anything in rows without a sequence.
        drawn: int32 (2, 2, size) on the host, once the step has run: at the parity of a row's position the
            id that was drawn or is the most likely valid one, and the bits of the largest logit. The step after the
            next one overwrites it.
    """

    logits: torch.Tensor
    ids: torch.Tensor
    drawn: torch.Tensor


def why_not(model: CausalLM, kv_dtype: torch.dtype) -> str | None:
    """Why a model's decode steps cannot run this way; None where they can.

    Args:
        model: Whose steps.
        kv_dtype: Of full layers' keys and values.
    """
    weights = [param for param in model.parameters() if param.dtype is not torch.uint8]
    device = weights[0].device
    for implementation, reason in choose("decode", device).passed_over:
        if implementation.name == "cuda":
            return reason
    if any(param.device != device for param in model.parameters()):
        return "needs all weights on one device"
    if any(w.dtype is not torch.bfloat16 for w in weights):
        return "needs bfloat16 weights"
    if kv_dtype not in (torch.bfloat16, FP8):
        return "needs a KV cache in bfloat16, or fp8 for full layers"
    linears = [type(part) for part in model.modules() if isinstance(part, nn.Linear)]
    if any(kind not in (nn.Linear, Linear) for kind in linears):
        return "needs plain linear layers"
    scales = [param for name, param in model.named_parameters() if name.endswith("_scales")]
    if any(int(some.max()) > _MAX_SCALE for some in scales):
        return f"needs MXFP4 scales of at most {_MAX_SCALE}"
    return _why_not_shape(model.config)


def _why_not_shape(config: ModelConfig) -> str | None:
    bounds = {
        "needs experts in MXFP4": config.expert_format == "mxfp4",
        f"needs head_dim {HEAD_DIM}": config.head_dim == HEAD_DIM,
        f"takes at most {MAX_GROUP} query heads to a key head": (
            config.num_key_value_groups <= MAX_GROUP
        ),
        f"takes at most {MAX_EXPERTS} experts": config.num_experts <= MAX_EXPERTS,
        f"takes at most {MAX_TOP_K} experts a token": config.experts_per_token <= MAX_TOP_K,
        f"takes a hidden_size of at most {_MAX_HIDDEN}": config.hidden_size <= _MAX_HIDDEN,
        f"takes at most {_MAX_HEADS} columns of heads": (
            config.num_attention_heads * HEAD_DIM <= _MAX_HEADS
        ),
    }
    return next((reason for reason, holds in bounds.items() if not holds), None)


class DecodeStep:
    """Steps of one model over one set of pages.

    Args:
        model: `why_not` has nothing against it. Its packed experts are relaid in place, and its
            parameters must stay where they are.
        pages: For each layer keys and values (pages, page_size, kv_heads, 64), as `attend_one` takes them.
        groups: Layer types in the order in which tables are given.
        max_context: Longest sequence.
        valid_end: Ids from here on are never drawn.
        max_rows: Sequences of a step at most; steps take memory for so many.
        memory: Holds steps of `sizes_for` so many rows; None makes one.

    Attributes:
        sets: Of ids, from which rows may draw; `chances` name them by their places.
    """

    def __init__(
        self,
        model: CausalLM,
        pages: Sequence[tuple[torch.Tensor, torch.Tensor]],
        groups: Sequence[LayerType],
        max_context: int,
        valid_end: int,
        max_rows: int = MAX_ROWS,
        memory: DecodeMemory | None = None,
    ) -> None:
        relay_weights(model)
        self._model = model
        self._pages = tuple(pages)
        self._groups = tuple(groups)
        self._valid_end = valid_end
        width = -(-max_context // min(keys.shape[1] for keys, _ in pages)) + 1
        sizes, device = self.sizes_for(max_rows), pages[0][0].device
        size = _TABLE + sizes[-1] * len(groups) * width
        self._memory = memory or DecodeMemory(model.config, sizes, device)
        self._inputs = torch.full((size,), -1, dtype=torch.int32, device=device)
        self.sets = TokenSets(model.config.vocab_size, device)
        self._staging = [_Staging(size), _Staging(size)]  # what was sent last, and what is next
        # By rows, and whether tokens are drawn.
        self._ready: dict[tuple[int, bool], tuple[torch.cuda.CUDAGraph, DecodeChain]] = {}
        # By the last step on the device: rows of its graph, how many inputs count, the positions.
        self._left: tuple[int, int, np.ndarray] | None = None

    def run(
        self,
        ids: list[int] | None,
        positions: list[int],
        tables: Sequence[Sequence[array[int]] | None],
        size: int | None = None,
        chances: npt.NDArray[np.int32] | None = None,
    ) -> StepOutput:
        """One step; returns when it is enqueued.

        Args:
            ids: The new token of each row, at most `max_rows`; None takes the ids that the step before has
                drawn, which had the same size and the same sequences in its rows.
            positions: Their positions, negative for rows without a sequence.
            tables: For each row and group its page numbers, the new token's included; None for rows
                without a sequence.
            size: Rows of the graph, `size_for` the rows if not given.
            chances: (rows, CHANCE_NUMBERS), how each row's token is drawn, as `draw` takes it; None where
                the most likely ones are all that is asked for.
        """
        rows = len(positions)
        kind = size or self.size_for(rows), chances is not None
        if kind not in self._ready:
            self._ready[kind] = self._capture(*kind)
        graph, chain = self._ready[kind]
        following = self._staging[1]
        following.wait()
        used = _fill(following.host, ids, positions, tables, chances)
        if ids is not None or not self._is_there(kind[0], used):
            self._send(_POSITIONS if ids is None else _IDS, used)
        told = following.host[_POSITIONS:_WIDTH]
        self._left = kind[0], used, told + (told >= 0)
        graph.replay()
        return StepOutput(chain.logits[:rows], self._inputs[_IDS : _IDS + rows], chain.drawn)

    def _is_there(self, size: int, used: int) -> bool:
        """Whether what was filled in is what the step before left on the device."""
        if self._left is None or self._left[:2] != (size, used):
            return False
        sent, filled = (staging.host for staging in self._staging)
        return np.array_equal(filled[_POSITIONS:_WIDTH], self._left[2]) and np.array_equal(
            filled[_WIDTH:used], sent[_WIDTH:used]
        )

    def _send(self, first: int, used: int) -> None:
        """To the device what was filled in."""
        self._staging.reverse()
        staging = self._staging[0]
        self._inputs[first:used].copy_(staging.tensor[first:used], non_blocking=True)
        staging.copied.record()

    def warm_up(self, rows: int, only: int | None = None) -> None:
        """Capture every graph that steps of up to so many rows need.

        Args:
            rows: Sequences side by side.
            only: Rows of the only graphs that are needed; None for all.
        """
        sizes = self.sizes_for(rows) if only is None else [only]
        for kind in product(sizes, (False, True)):
            if kind not in self._ready:
                self._ready[kind] = self._capture(*kind)

    @staticmethod
    def size_for(rows: int) -> int:
        """Rows of the graph that runs so many."""
        return next(size for size in _SIZES if size >= rows)

    @staticmethod
    def sizes_for(rows: int) -> list[int]:
        """Rows of all graphs that steps of up to so many need."""
        return [size for size in _SIZES if size <= DecodeStep.size_for(rows)]

    @staticmethod
    def size_alike(rows: int) -> int:
        """Rows of the graph in which each of so many gets the same bits whatever the others are.

        But on Hopper, the experts' products for few tokens are cut by how many experts all of these have chosen.
        """
        return DecodeStep.size_for(rows if rows == 1 else max(rows, FEW_TOKENS + 1))

    def _capture(self, size: int, draws: bool) -> tuple[torch.cuda.CUDAGraph, DecodeChain]:
        inputs = StepInputs(
            ids=self._inputs[_IDS : _IDS + size],
            positions=self._inputs[_POSITIONS : _POSITIONS + size],
            width=self._inputs[_WIDTH : _WIDTH + 1],
            chances=self._inputs[_CHANCES:_TABLE].view(MAX_ROWS, CHANCE_NUMBERS)[:size],
            sets=self.sets.table,
            table=self._inputs[_TABLE:],
        )
        chain = DecodeChain(
            self._model,
            self._pages,
            self._groups,
            inputs,
            self._memory,
            self._valid_end,
            draws=draws,
        )
        kept = self._inputs[:_TABLE].clone()  # ids that a step has left there
        self._left = None
        self._inputs[:_TABLE] = 0
        self._inputs[_POSITIONS:_WIDTH] = -1
        chain.enqueue()  # loads every kernel; without positions nothing is written
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            chain.enqueue()
        self._inputs[:_TABLE] = kept
        return graph, chain


class _Staging:
    """Inputs of a step on the host, in memory that the device copies from by itself."""

    def __init__(self, size: int) -> None:
        self.tensor = torch.zeros(size, dtype=torch.int32, pin_memory=True)
        self.host = self.tensor.numpy()
        self.copied = torch.cuda.Event()

    def wait(self) -> None:
        """Until what was enqueued from here is copied; it may be written then."""
        self.copied.synchronize()


def _fill(
    host: np.ndarray,
    ids: list[int] | None,
    positions: list[int],
    tables: Sequence[Sequence[array[int]] | None],
    chances: npt.NDArray[np.int32] | None,
) -> int:
    """Write a step's inputs; how many numbers of the buffer matter."""
    rows = len(positions)
    if ids is not None:
        host[_IDS : _IDS + rows] = ids
        host[_IDS + rows : _POSITIONS] = 0
    host[_POSITIONS : _POSITIONS + rows] = positions
    host[_POSITIONS + rows : _WIDTH] = -1
    width = max((len(table) for row in tables if row for table in row), default=1)
    host[_WIDTH] = width
    drawn = _CHANCES
    if chances is not None:
        drawn += chances.size
        host[_CHANCES:drawn] = chances.ravel()
    host[drawn:_TABLE] = 0  # so that the same inputs are the same numbers, as the tables' below
    at, groups = _TABLE, max((len(row) for row in tables if row), default=0)
    host[at : at + rows * groups * width] = 0
    numbers = host.data  # takes an array's numbers in a fraction of numpy's time
    for row in tables:
        if row is None:
            at += groups * width
            continue
        for table in row:
            numbers[at : at + len(table)] = table
            at += width
    return at


def relay_weights(model: CausalLM) -> None:
    """Bring weights into the kernels' order, layer by layer, in place.

    Packed experts are relaid; the weights of queries, keys and values are laid one behind the other.
    """
    for layer in model.model.layers:
        assert isinstance(layer, DecoderLayer)
        layer.mlp.experts.relay()
        layer.self_attn.join_projections()
        torch.cuda.empty_cache()  # else what the other order took stays beside the next layer's

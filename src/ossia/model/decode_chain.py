"""DecodeChain: the kernels of one decode step in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ossia.config import LayerType
from ossia.kernels.decode import argmax, attend_one, draw
from ossia.kernels.decode.attention import PagedStep
from ossia.model.decode_memory import DecodeMemory
from ossia.model.heads import CausalLM
from ossia.model.kernel_chain import KernelChain, Stage, bias_of
from ossia.model.projecting import addends, project_layers
from ossia.model.transformer import DecoderLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInputs:
    """What changes from step to step, int32 unless said, on the device.

    Args:
        ids: (tokens,).
        positions: (tokens,), negative for no token.
        width: (1,).
        chances: (tokens, CHANCE_NUMBERS), as `draw` says.
        sets: uint8, likewise.
        table: (tokens, groups, width) and whatever lies behind.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    width: torch.Tensor
    chances: torch.Tensor
    sets: torch.Tensor
    table: torch.Tensor


class DecodeChain(KernelChain):
    """All launches of a step for a fixed number of tokens.

    Args:
        model: Its experts are relaid.
        pages: Keys and values of each layer.
        groups: Layer types in the order of the tables.
        inputs: Read at every run, and advanced at its end.
        memory: Holds a step of so many tokens; chains that share it run one after the other.
        valid_end: Ids from here on are never drawn.
        draws: Whether tokens are drawn as the inputs' chances say; else all are the most likely ones.

    Attributes:
        logits: float32 (tokens, vocab), after a run, until another chain of this memory runs.
        drawn: int32 (2, 2, tokens), as `argmax` says, on the host.
    """

    def __init__(
        self,
        model: CausalLM,
        pages: Sequence[tuple[torch.Tensor, torch.Tensor]],
        groups: Sequence[LayerType],
        inputs: StepInputs,
        memory: DecodeMemory,
        valid_end: int,
        *,
        draws: bool = False,
    ) -> None:
        tokens = len(inputs.ids)
        self._step = tensors = memory.step(tokens)
        super().__init__(model, inputs.ids, inputs.positions, memory, tensors)
        self._pages, self._groups, self._valid_end = pages, groups, valid_end
        self._chances, self._sets = (inputs.chances if draws else None), inputs.sets
        self._paged = PagedStep(
            positions=inputs.positions,
            table=inputs.table,
            width=inputs.width,
            groups=len(groups),
            rope=tensors.rope,
            scratch=tensors.shares,
            arrivals=tensors.attention_arrivals,
        )
        self.logits, self.drawn = memory.logits(tokens), memory.drawn(tokens)

    def _attention(self, layer: DecoderLayer) -> list[Stage]:
        return [
            ("qkv", partial(self._project_qkv, layer)),
            ("attention", partial(self._attend, layer)),
        ]

    def _attended(self) -> torch.Tensor:
        return self._step.attended

    def _head(self) -> list[Stage]:
        last = ("argmax", self._argmax) if self._chances is None else ("draw", self._draw)
        return [("unembedding", self._unembed), last]

    def _project_qkv(self, layer: DecoderLayer) -> None:
        attention = layer.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        project_layers(self._step.normed, parts, self._step.qkv)

    def _attend(self, layer: DecoderLayer) -> None:
        attention = layer.self_attn
        attend_one(
            addends([attention.q_proj], self._step.qkv),
            (bias_of(attention.q_proj), bias_of(attention.k_proj), bias_of(attention.v_proj)),
            attention.sinks.data,
            self._pages[attention.layer_idx],
            self._paged,
            self._groups.index(attention.layer_type),
            attention.window,
            self._step.attended,
        )

    def _unembed(self) -> None:
        project_layers(self._step.normed, [self._model.lm_head], self.logits[None])

    def _argmax(self) -> None:
        scratch = self._step.drawn_best, self._step.drawn_arrivals
        argmax(self.logits, self._valid_end, self._ids, self._positions, self.drawn, scratch)

    def _draw(self) -> None:
        assert self._chances is not None
        scratch = self._step.drawn_best, self._step.drawn_weights
        draw(
            self.logits, self._valid_end, self._chances, self._ids, self._positions, self.drawn, scratch, self._sets
        )  # fmt: skip

"""PassChain: the kernels of a pass over some new tokens of each sequence in their order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from ossia.model.batch import PagedKV
from ossia.model.decode_memory import DecodeMemory
from ossia.model.heads import CausalLM
from ossia.model.kernel_chain import KernelChain, Stage
from ossia.model.projecting import project_layers
from ossia.model.transformer import DecoderLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class PassInputs:
    """What changes from pass to pass, on the device.

    Args:
        ids: int32 (tokens,).
        positions: int32 (tokens,), negative for no token.
        rows: int32 (rows,): tokens whose logits are wanted.
        kv: Where keys and values are and go.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    kv: PagedKV


class PassChain(KernelChain):
    """All launches of a pass for a fixed number of tokens and rows of logits.

    Args:
        model: Its experts are relaid, and its projections joined.
        inputs: Read at every run.
        memory: Holds a pass of so many tokens; chains that share it run one after the other.

    Attributes:
        logits: float32 (rows, vocab), after a run, until another chain of this memory runs.
    """

    def __init__(self, model: CausalLM, inputs: PassInputs, memory: DecodeMemory) -> None:
        tensors = memory.layers(len(inputs.ids))
        super().__init__(model, inputs.ids, inputs.positions, memory, tensors)
        self._inputs = inputs
        self.logits = memory.logits(len(inputs.rows))
        self._mixed = torch.empty(0)

    def _attention(self, layer: DecoderLayer) -> list[Stage]:
        return [("attention", partial(self._attend, layer))]

    def _attended(self) -> torch.Tensor:
        return self._mixed

    def _head(self) -> list[Stage]:
        return [("unembedding", self._unembed)]

    def _attend(self, layer: DecoderLayer) -> None:
        rope = self._between.rope  # (tokens, 2, head_dim / 2)
        self._mixed = layer.self_attn.mix_paged(
            self._between.normed, (rope[:, 0], rope[:, 1]), [], self._inputs.kv
        )

    def _unembed(self) -> None:
        rows = self._between.normed.index_select(0, self._inputs.rows)
        project_layers(rows, [self._model.lm_head], self.logits[None])
        self._mixed = torch.empty(0)  # or what graphs share could not be used again

"""DecodeChain: the kernels of one decode step in their order, and the tensors between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ossia.config import LayerType
from ossia.kernels.decode import (
    FEW_TOKENS,
    X_SCALE,
    add_and_norm,
    argmax,
    attend_one,
    few,
    num_parts,
    num_shares,
    project,
    project_down,
    project_up,
    split_parts,
)
from ossia.kernels.decode.argmax import SLICES
from ossia.kernels.decode.attention import PagedStep
from ossia.kernels.decode.experts import RoutedStep
from ossia.kernels.decode.routed import Slots, dispatch, routed_down, routed_up
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import whole_units
from ossia.model.heads import CausalLM
from ossia.model.layers import RMSNorm
from ossia.model.transformer import Decoder, DecoderLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInputs:
    """What changes from step to step, int32 on the device.

    Args:
        ids: (tokens,).
        positions: (tokens,), negative for no token.
        width: (1,).
        table: (tokens, groups, width) and whatever lies behind.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    width: torch.Tensor
    table: torch.Tensor


class DecodeChain:
    """All launches of a step for a fixed number of tokens.

    Args:
        model: Its experts are relaid.
        pages: Keys and values of each layer.
        groups: Layer types in the order of the tables.
        inputs: Read at every run, and advanced at its end.
        valid_end: Ids from here on are never drawn.

    Attributes:
        logits: float32 (tokens, vocab), after a run.
        drawn: int32 (2, tokens), as `argmax` says.
    """

    def __init__(
        self,
        model: CausalLM,
        pages: Sequence[tuple[torch.Tensor, torch.Tensor]],
        groups: Sequence[LayerType],
        inputs: StepInputs,
        valid_end: int,
    ) -> None:
        config = model.config
        self._model, self._pages, self._groups = model, pages, groups
        self._inputs, self._valid_end = inputs, valid_end
        tokens, hidden = len(inputs.ids), config.hidden_size
        device = inputs.ids.device
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        top_k = config.experts_per_token

        def floats(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float32, device=device)

        def halves(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.bfloat16, device=device)

        def integers(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=device)

        qkv_rows = (heads + 2 * kv_heads) * config.head_dim
        self._stream, self._middle = halves(tokens, hidden), halves(tokens, hidden)
        self._normed = halves(tokens, hidden)
        self._qkv = floats(num_parts(tokens, hidden, qkv_rows, device), tokens, qkv_rows)
        columns = heads * config.head_dim
        self._attended = halves(tokens, columns)
        self._parts = floats(num_parts(tokens, columns, hidden, device), tokens, hidden)
        said, self._slots = split_parts(hidden, device), None
        self._arrivals = None
        if few.fits(tokens, hidden, config.intermediate_size, device):
            said, self._arrivals = top_k, torch.zeros(1, dtype=torch.int64, device=device)
        elif tokens > FEW_TOKENS:
            said = top_k
            self._slots = Slots.empty(tokens, config.num_experts, top_k, device)
        self._said = floats(said, tokens, hidden)
        self._expert_in = halves(tokens, whole_units(hidden))
        self._inner = halves(tokens * top_k, whole_units(config.intermediate_size))
        self._routed = RoutedStep(
            logits=floats(tokens, config.num_experts), positions=inputs.positions, top_k=top_k
        )
        shares = num_shares(tokens, kv_heads, device)
        self._paged = PagedStep(
            positions=inputs.positions,
            table=inputs.table,
            width=inputs.width,
            groups=len(groups),
            rope=floats(tokens, 2, config.head_dim // 2),
            scratch=floats(*PagedStep.scratch_shape(tokens, kv_heads, shares)),
            arrivals=integers(tokens, kv_heads),
        )
        best = torch.zeros(tokens, SLICES, dtype=torch.int64, device=device)
        self._scratch = (best, integers(tokens))
        self.logits = floats(tokens, config.vocab_size)
        self.drawn = integers(2, tokens)

    def enqueue(self) -> None:
        """Launch everything on the current stream."""
        for _, launch in self.stages():
            launch()

    def stages(self) -> list[tuple[str, Callable[[], None]]]:
        """Every launch of a step in its order, by what it does."""
        decoder = self._model.model
        layers: list[DecoderLayer] = list(decoder.layers)  # pyright: ignore[reportAssignmentType]
        norms = [layer.input_layernorm for layer in layers[1:]] + [decoder.norm]
        stages = [("embed", partial(self._embed, decoder))]
        for layer, norm in zip(layers, norms, strict=True):
            stages += [
                ("qkv", partial(self._project_qkv, layer)),
                ("attention", partial(self._attend, layer)),
                ("o", partial(self._project_out, layer)),
                ("router", partial(self._route, layer)),
                *([] if self._slots is None else [("dispatch", self._dispatch)]),
                *self._experts(layer),
                ("norm", partial(self._add_and_norm, norm)),
            ]
        return [*stages, ("unembedding", self._unembed), ("argmax", self._argmax)]

    def _embed(self, decoder: Decoder) -> None:
        inputs, rotary, norm = self._inputs, decoder.rotary, _first_norm(decoder)
        frequencies = rotary.frequencies(inputs.ids.device)
        add_and_norm(
            decoder.embed_tokens.weight.data, norm.weight.data, norm.eps, self._stream, self._normed,
            ids=inputs.ids, overlap=False,
            rope=(frequencies, rotary.concentration, inputs.positions, self._paged.rope),
        )  # fmt: skip

    def _project_qkv(self, layer: DecoderLayer) -> None:
        attention = layer.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        project(self._normed, [part.weight.data for part in parts], self._qkv)

    def _attend(self, layer: DecoderLayer) -> None:
        attention = layer.self_attn
        attend_one(
            self._qkv,
            (_bias(attention.q_proj), _bias(attention.k_proj), _bias(attention.v_proj)),
            attention.sinks.data,
            self._pages[attention.layer_idx],
            self._paged,
            self._groups.index(attention.layer_type),
            attention.window,
            self._attended,
        )

    def _project_out(self, layer: DecoderLayer) -> None:
        project(self._attended, [layer.self_attn.o_proj.weight.data], self._parts)

    def _route(self, layer: DecoderLayer) -> None:
        norm, router = layer.post_attention_layernorm, layer.mlp.router
        add_and_norm(
            self._stream, norm.weight.data, norm.eps, self._middle, self._expert_in,
            parts=self._parts, bias=_bias(layer.self_attn.o_proj), scale=X_SCALE,
            router=(router.weight.data, _bias(router), self._routed.logits),
        )  # fmt: skip

    def _dispatch(self) -> None:
        assert self._slots is not None
        dispatch(self._slots, self._routed)

    def _experts(self, layer: DecoderLayer) -> list[tuple[str, Callable[[], None]]]:
        if self._arrivals is not None:
            return [("experts", partial(self._all_experts, layer, self._arrivals))]
        return [("gate_up", partial(self._gate_up, layer)), ("down", partial(self._down, layer))]

    def _all_experts(self, layer: DecoderLayer, arrivals: torch.Tensor) -> None:
        experts = layer.mlp.experts.weights()
        assert isinstance(experts.gate_up, RelaidMxfp4)
        assert isinstance(experts.down, RelaidMxfp4)
        few.run_few(
            self._expert_in, self._routed, (experts.gate_up, experts.down),
            (experts.gate_up_bias.data, experts.down_bias.data), experts.alpha, experts.limit,
            self._inner, self._said, arrivals,
        )  # fmt: skip

    def _gate_up(self, layer: DecoderLayer) -> None:
        experts = layer.mlp.experts.weights()
        assert isinstance(experts.gate_up, RelaidMxfp4)
        rest = (
            experts.gate_up, experts.gate_up_bias.data, experts.alpha, experts.limit, self._inner
        )  # fmt: skip
        if self._slots is None:
            project_up(self._expert_in, self._routed, *rest)
        else:
            routed_up(self._expert_in, self._slots, *rest)

    def _down(self, layer: DecoderLayer) -> None:
        experts = layer.mlp.experts.weights()
        assert isinstance(experts.down, RelaidMxfp4)
        bias = experts.down_bias.data
        if self._slots is None:
            project_down(self._inner, self._routed, experts.down, bias, self._said)
        else:
            routed_down(self._inner, self._slots, experts.down, bias, self._said)

    def _add_and_norm(self, norm: RMSNorm) -> None:
        """The experts' sum joins the stream, and the next norm follows."""
        add_and_norm(
            self._middle, norm.weight.data, norm.eps, self._stream, self._normed, parts=self._said
        )

    def _unembed(self) -> None:
        project(self._normed, [self._model.lm_head.weight.data], self.logits[None])

    def _argmax(self) -> None:
        argmax(
            self.logits, self._valid_end, self._inputs.ids, self._inputs.positions, self.drawn,
            self._scratch,
        )  # fmt: skip


def _bias(linear: nn.Linear) -> torch.Tensor | None:
    return None if linear.bias is None else linear.bias.data


def _first_norm(decoder: Decoder) -> RMSNorm:
    layer = decoder.layers[0]
    assert isinstance(layer, DecoderLayer)
    return layer.input_layernorm

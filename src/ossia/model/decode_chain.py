"""DecodeChain: the kernels of one decode step in their order, and the tensors between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    project,
    project_down,
    project_up,
)
from ossia.kernels.decode.attention import PagedStep
from ossia.kernels.decode.experts import RoutedStep
from ossia.kernels.decode.routed import Slots, dispatch, routed_down, routed_up
from ossia.kernels.decode.wide import (
    WIDE_SLOTS,
    operand_places,
    runs_on,
    wide_down_parts,
    wide_up,
    width_for,
)
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.model.decode_memory import DecodeMemory
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


_ROUTED_TOKENS = 128  # up to which the router is part of the norm


class DecodeChain:
    """All launches of a step for a fixed number of tokens.

    Args:
        model: Its experts are relaid.
        pages: Keys and values of each layer.
        groups: Layer types in the order of the tables.
        inputs: Read at every run, and advanced at its end.
        memory: Holds a step of so many tokens; chains that share it run one after the other.
        valid_end: Ids from here on are never drawn.

    Attributes:
        logits: float32 (tokens, vocab), after a run, until another chain of this memory runs.
        drawn: int32 (2, tokens), as `argmax` says.
    """

    def __init__(
        self,
        model: CausalLM,
        pages: Sequence[tuple[torch.Tensor, torch.Tensor]],
        groups: Sequence[LayerType],
        inputs: StepInputs,
        memory: DecodeMemory,
        valid_end: int,
    ) -> None:
        config, top_k = model.config, model.config.experts_per_token
        tokens, device = len(inputs.ids), inputs.ids.device
        self._model, self._pages, self._groups = model, pages, groups
        self._inputs, self._valid_end = inputs, valid_end
        self._tensors = between = memory.tensors(tokens)
        self._slots = None
        self._wide = tokens * top_k > WIDE_SLOTS * config.num_experts and runs_on(device)
        self._few = few.fits(tokens, config.hidden_size, config.intermediate_size, device)
        if tokens > FEW_TOKENS:
            width = width_for(tokens * top_k, config.num_experts) if self._wide else None
            self._slots = Slots.empty(tokens, config.num_experts, top_k, device, width)
        # The router of many tokens is a product of its own, with operands as the experts take them.
        self._routers: dict[int, torch.Tensor] = {}
        if tokens > _ROUTED_TOKENS:
            places = operand_places(config.hidden_size) if self._wide else slice(None)
            for idx, layer in enumerate(model.model.layers):
                assert isinstance(layer, DecoderLayer)
                self._routers[idx] = layer.mlp.router.weight.data[:, places].contiguous()
        self._routed = RoutedStep(
            logits=between.router_logits, positions=inputs.positions, top_k=top_k
        )
        self._paged = PagedStep(
            positions=inputs.positions,
            table=inputs.table,
            width=inputs.width,
            groups=len(groups),
            rope=between.rope,
            scratch=between.shares,
            arrivals=between.attention_arrivals,
        )
        self.logits, self.drawn = between.logits, between.drawn

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
                *([] if self._slots is None else [("dispatch", partial(self._dispatch, layer))]),
                *self._experts(layer),
                ("norm", partial(self._add_and_norm, norm)),
            ]
        return [*stages, ("unembedding", self._unembed), ("argmax", self._argmax)]

    def _embed(self, decoder: Decoder) -> None:
        inputs, rotary, norm = self._inputs, decoder.rotary, _first_norm(decoder)
        between = self._tensors
        frequencies = rotary.frequencies(inputs.ids.device)
        add_and_norm(
            decoder.embed_tokens.weight.data, norm.weight.data, norm.eps, between.stream,
            between.normed, ids=inputs.ids, overlap=False,
            rope=(frequencies, rotary.concentration, inputs.positions, self._paged.rope),
        )  # fmt: skip

    def _project_qkv(self, layer: DecoderLayer) -> None:
        attention, between = layer.self_attn, self._tensors
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        project(between.normed, [part.weight.data for part in parts], between.qkv)

    def _attend(self, layer: DecoderLayer) -> None:
        attention, between = layer.self_attn, self._tensors
        attend_one(
            between.qkv,
            (_bias(attention.q_proj), _bias(attention.k_proj), _bias(attention.v_proj)),
            attention.sinks.data,
            self._pages[attention.layer_idx],
            self._paged,
            self._groups.index(attention.layer_type),
            attention.window,
            between.attended,
        )

    def _project_out(self, layer: DecoderLayer) -> None:
        between = self._tensors
        project(between.attended, [layer.self_attn.o_proj.weight.data], between.parts)

    def _route(self, layer: DecoderLayer) -> None:
        norm, router, between = layer.post_attention_layernorm, layer.mlp.router, self._tensors
        product = self._routers.get(layer.self_attn.layer_idx)
        told = (router.weight.data, _bias(router), between.router_logits)
        add_and_norm(
            between.stream, norm.weight.data, norm.eps, between.middle, between.expert_in,
            parts=between.parts, bias=_bias(layer.self_attn.o_proj), scale=X_SCALE,
            router=told if product is None else None,
            in_places=self._wide,
        )  # fmt: skip
        if product is not None:
            operands = between.expert_in[:, : product.shape[1]]
            torch.mm(
                operands, product.t(), out_dtype=torch.float32, out=between.router_logits
            )  # fmt: skip

    def _dispatch(self, layer: DecoderLayer) -> None:
        assert self._slots is not None
        routed = self._routed
        if self._routers:
            routed = replace(routed, bias=_bias(layer.mlp.router), scale=1 / X_SCALE)
        dispatch(self._slots, routed)

    def _experts(self, layer: DecoderLayer) -> list[tuple[str, Callable[[], None]]]:
        if self._few:
            return [("experts", partial(self._all_experts, layer))]
        return [("gate_up", partial(self._gate_up, layer)), ("down", partial(self._down, layer))]

    def _all_experts(self, layer: DecoderLayer) -> None:
        experts, between = layer.mlp.experts.weights(), self._tensors
        assert isinstance(experts.gate_up, RelaidMxfp4)
        assert isinstance(experts.down, RelaidMxfp4)
        few.run_few(
            between.expert_in, self._routed, (experts.gate_up, experts.down),
            (experts.gate_up_bias.data, experts.down_bias.data), experts.alpha, experts.limit,
            between.inner, between.said, between.experts_arrivals,
        )  # fmt: skip

    def _gate_up(self, layer: DecoderLayer) -> None:
        experts, between = layer.mlp.experts.weights(), self._tensors
        assert isinstance(experts.gate_up, RelaidMxfp4)
        rest = (
            experts.gate_up, experts.gate_up_bias.data, experts.alpha, experts.limit, between.inner
        )  # fmt: skip
        if self._slots is None:
            project_up(between.expert_in, self._routed, *rest)
        elif self._wide:
            wide_up(between.expert_in, self._slots, *rest, overlap=True)
        else:
            routed_up(between.expert_in, self._slots, *rest)

    def _down(self, layer: DecoderLayer) -> None:
        experts, between = layer.mlp.experts.weights(), self._tensors
        assert isinstance(experts.down, RelaidMxfp4)
        rest = (experts.down, experts.down_bias.data, between.said)
        if self._slots is None:
            project_down(between.inner, self._routed, *rest)
        elif self._wide:
            wide_down_parts(between.inner, self._slots, *rest, overlap=True)
        else:
            routed_down(between.inner, self._slots, *rest)

    def _add_and_norm(self, norm: RMSNorm) -> None:
        """The experts' sum joins the stream, and the next norm follows."""
        between = self._tensors
        add_and_norm(
            between.middle, norm.weight.data, norm.eps, between.stream, between.normed,
            parts=between.said,
        )  # fmt: skip

    def _unembed(self) -> None:
        project(self._tensors.normed, [self._model.lm_head.weight.data], self.logits[None])

    def _argmax(self) -> None:
        inputs, between = self._inputs, self._tensors
        scratch = between.best, between.argmax_arrivals
        argmax(self.logits, self._valid_end, inputs.ids, inputs.positions, self.drawn, scratch)


def _bias(linear: nn.Linear) -> torch.Tensor | None:
    return None if linear.bias is None else linear.bias.data


def _first_norm(decoder: Decoder) -> RMSNorm:
    layer = decoder.layers[0]
    assert isinstance(layer, DecoderLayer)
    return layer.input_layernorm

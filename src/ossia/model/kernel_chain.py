"""KernelChain: what steps and prompts have in common of the kernels' order, from layer to layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from ossia.kernels.decode import X_SCALE, add_and_norm, dozens, project_down, project_up, several
from ossia.kernels.decode.experts import RoutedStep
from ossia.kernels.decode.routed import Slots, dispatch, routed_down, routed_up
from ossia.kernels.decode.ways import ExpertsWay
from ossia.kernels.decode.wide import wide_down_parts, wide_up
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.model.decode_memory import DecodeMemory, LayerTensors
from ossia.model.heads import CausalLM
from ossia.model.layers import RMSNorm
from ossia.model.projecting import addends, project_layers
from ossia.model.transformer import Decoder, DecoderLayer

Stage = tuple[str, Callable[[], None]]
"""A launch, by what it does."""
_ROUTED_TOKENS = 64  # up to which the router is part of the norm


class KernelChain(ABC):
    """All launches of the layers for a fixed number of tokens.

    Args:
        model: Its experts are relaid.
        ids: int32 (tokens,), read at every run like `positions`.
        positions: int32 (tokens,), negative for no token.
        memory: Chains that share it run one after the other.
        tensors: Of it, what lies between kernels of so many tokens.
    """

    def __init__(
        self,
        model: CausalLM,
        ids: torch.Tensor,
        positions: torch.Tensor,
        memory: DecodeMemory,
        tensors: LayerTensors,
    ) -> None:
        config, top_k = model.config, model.config.experts_per_token
        tokens, device = len(ids), ids.device
        self._model, self._ids, self._positions = model, ids, positions
        self._between = tensors
        self._slots = None
        sizes = config.hidden_size, config.intermediate_size
        self._way = ExpertsWay.choose(tokens, top_k, config.num_experts, sizes, device)
        if self._way.is_sorted(tokens):
            width = self._way.width(tokens * top_k, config.num_experts)
            self._slots = Slots.empty(tokens, config.num_experts, top_k, device, width)
        # The router of many tokens is a product of its own, with operands as the experts take them.
        self._routers: list[torch.Tensor] | None = None
        if tokens > _ROUTED_TOKENS:
            self._routers = memory.routers(model, in_places=self._way.in_places)
        self._routed = RoutedStep(
            logits=tensors.router_logits, positions=positions, top_k=top_k
        )  # fmt: skip

    def enqueue(self) -> None:
        """Launch everything on the current stream."""
        for _, launch in self.stages():
            launch()

    def stages(self) -> list[Stage]:
        """Every launch in its order."""
        decoder = self._model.model
        layers: list[DecoderLayer] = list(decoder.layers)  # pyright: ignore[reportAssignmentType]
        norms = [layer.input_layernorm for layer in layers[1:]] + [decoder.norm]
        stages = [("embed", partial(self._embed, decoder))]
        for layer, norm in zip(layers, norms, strict=True):
            stages += [
                *self._attention(layer),
                ("o", partial(self._project_out, layer)),
                ("router", partial(self._route, layer)),
                *([] if self._slots is None else [("dispatch", partial(self._dispatch, layer))]),
                *self._experts(layer),
                ("norm", partial(self._add_and_norm, norm)),
            ]
        return stages + self._head()

    @abstractmethod
    def _attention(self, layer: DecoderLayer) -> list[Stage]:
        """From `normed` to what `_attended` gives."""

    @abstractmethod
    def _attended(self) -> torch.Tensor:
        """bfloat16 (tokens, heads * head_dim)."""

    @abstractmethod
    def _head(self) -> list[Stage]:
        """What becomes of `normed` behind the last layer."""

    def _embed(self, decoder: Decoder) -> None:
        rotary, norm, between = decoder.rotary, _first_norm(decoder), self._between
        frequencies = rotary.frequencies(self._ids.device)
        add_and_norm(
            decoder.embed_tokens.weight.data, norm.weight.data, norm.eps, between.stream,
            between.normed, ids=self._ids, overlap=False,
            rope=(frequencies, rotary.concentration, self._positions, between.rope),
        )  # fmt: skip

    def _project_out(self, layer: DecoderLayer) -> None:
        project_layers(self._attended(), [layer.self_attn.o_proj], self._between.parts)

    def _route(self, layer: DecoderLayer) -> None:
        norm, router, between = layer.post_attention_layernorm, layer.mlp.router, self._between
        routers, idx = self._routers, layer.self_attn.layer_idx
        product = None if routers is None else routers[idx]
        told = (router.weight.data, bias_of(router), between.router_logits)
        add_and_norm(
            between.stream, norm.weight.data, norm.eps, between.middle, between.expert_in,
            parts=addends([layer.self_attn.o_proj], between.parts),
            bias=bias_of(layer.self_attn.o_proj), scale=X_SCALE,
            router=told if product is None else None,
            in_places=self._way.in_places,
        )  # fmt: skip
        if product is not None:
            operands = between.expert_in[:, : product.shape[1]]
            torch.mm(
                operands, product.t(), out_dtype=torch.float32, out=between.router_logits
            )  # fmt: skip

    def _dispatch(self, layer: DecoderLayer) -> None:
        assert self._slots is not None
        routed = self._routed
        if self._routers is not None:
            routed = replace(routed, bias=bias_of(layer.mlp.router), scale=1 / X_SCALE)
        dispatch(self._slots, routed)

    def _experts(self, layer: DecoderLayer) -> list[Stage]:
        if self._way in (ExpertsWay.SEVERAL, ExpertsWay.DOZENS):
            return [("experts", partial(self._all_experts, layer))]
        return [("gate_up", partial(self._gate_up, layer)), ("down", partial(self._down, layer))]

    def _all_experts(self, layer: DecoderLayer) -> None:
        experts, between = layer.mlp.experts.weights(), self._between
        assert isinstance(experts.gate_up, RelaidMxfp4)
        assert isinstance(experts.down, RelaidMxfp4)
        rest = (
            (experts.gate_up, experts.down), (experts.gate_up_bias.data, experts.down_bias.data),
            experts.alpha, experts.limit, between.inner, between.said, between.experts_arrivals,
        )  # fmt: skip
        if self._way is ExpertsWay.DOZENS:
            assert self._slots is not None
            dozens.run_dozens(between.expert_in, self._slots, *rest)
        else:
            routed = self._routed if self._slots is None else self._slots
            several.run_several(between.expert_in, routed, *rest)

    def _gate_up(self, layer: DecoderLayer) -> None:
        experts, between = layer.mlp.experts.weights(), self._between
        assert isinstance(experts.gate_up, RelaidMxfp4)
        rest = (
            experts.gate_up, experts.gate_up_bias.data, experts.alpha, experts.limit, between.inner
        )  # fmt: skip
        if self._slots is None:
            project_up(between.expert_in, self._routed, *rest)
        elif self._way is ExpertsWay.WIDE:
            wide_up(between.expert_in, self._slots, *rest, overlap=True)
        else:
            routed_up(between.expert_in, self._slots, *rest)

    def _down(self, layer: DecoderLayer) -> None:
        experts, between = layer.mlp.experts.weights(), self._between
        assert isinstance(experts.down, RelaidMxfp4)
        rest = (experts.down, experts.down_bias.data, between.said)
        if self._slots is None:
            project_down(between.inner, self._routed, *rest)
        elif self._way is ExpertsWay.WIDE:
            wide_down_parts(between.inner, self._slots, *rest, overlap=True)
        else:
            routed_down(between.inner, self._slots, *rest)

    def _add_and_norm(self, norm: RMSNorm) -> None:
        """The experts' sum joins the stream, and the next norm follows."""
        between = self._between
        add_and_norm(
            between.middle, norm.weight.data, norm.eps, between.stream, between.normed,
            parts=between.said,
        )  # fmt: skip


def bias_of(linear: nn.Linear) -> torch.Tensor | None:
    """A linear layer's, if it has one."""
    return None if linear.bias is None else linear.bias.data


def _first_norm(decoder: Decoder) -> RMSNorm:
    layer = decoder.layers[0]
    assert isinstance(layer, DecoderLayer)
    return layer.input_layernorm

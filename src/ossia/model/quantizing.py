"""Rounding a model's dense matrices to 8 bits for the CPU kernels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ossia.kernels.backend import choose
from ossia.kernels.cpu import page_out
from ossia.kernels.int8 import GROUP, TILE_ROWS, Int8Matrix, quantize
from ossia.model.attention import Attention
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear


def why_not(model: CausalLM) -> str | None:
    """Why a model's matrices cannot be rounded to 8 bits; None where they can."""
    for implementation, reason in choose("dense", torch.device("cpu")).passed_over:
        if implementation.name == "cpu":
            return reason
    if any(param.device.type != "cpu" for param in model.parameters()):
        return "needs all weights on the CPU"
    if any(type(part) is not Linear for part in model.modules() if isinstance(part, nn.Linear)):
        return "needs plain linear layers"
    layers = [*_lone_layers(model), *(part for some in _attentions(model) for part in _parts(some))]
    if any(layer.weight.dtype is not torch.bfloat16 for layer in layers):
        return "needs a model in bfloat16"
    if any(layer.out_features % TILE_ROWS or layer.in_features % GROUP for layer in layers):
        return f"needs outputs in multiples of {TILE_ROWS} and inputs in multiples of {GROUP}"
    return None


def quantize_weights(model: CausalLM, *, int8_activations: bool) -> None:
    """Round the projections of attention and the unembedding, matrix by matrix; nothing twice.

    Embeddings, norms and routers stay as they are: they are small, or only rows of them are read.

    Args:
        model: `why_not` has nothing against it.
        int8_activations: What enters the products is rounded, too.
    """
    for attention in _attentions(model):
        parts = _parts(attention)
        if parts[0].int8 is None:
            joined = quantize(torch.cat([part.weight.data for part in parts]))
            for part, matrix in zip(parts, _split(joined, parts), strict=True):
                _exchange(part, matrix, int8_activations=int8_activations)
    for layer in _lone_layers(model):
        if layer.int8 is None:
            matrix = quantize(layer.weight.data)
            _exchange(layer, matrix, int8_activations=int8_activations)
    for layer in model.modules():
        if isinstance(layer, Linear):
            layer.int8_activations = int8_activations


def is_quantized(model: CausalLM) -> bool:
    """Whether that was done."""
    return any(isinstance(part, Linear) and part.int8 is not None for part in model.modules())


def _exchange(layer: Linear, matrix: Int8Matrix, *, int8_activations: bool) -> None:
    former = layer.weight.data
    layer.use_int8(matrix, int8_activations=int8_activations)
    page_out(former)


def _attentions(model: CausalLM) -> Iterator[Attention]:
    return (module for module in model.modules() if isinstance(module, Attention))


def _parts(attention: Attention) -> tuple[Linear, Linear, Linear]:
    """Which lie one behind the other afterwards."""
    return attention.q_proj, attention.k_proj, attention.v_proj


def _lone_layers(model: CausalLM) -> Iterator[Linear]:
    yield from (attention.o_proj for attention in _attentions(model))
    assert isinstance(model.lm_head, Linear)
    yield model.lm_head


def _split(joined: Int8Matrix, parts: tuple[Linear, ...]) -> Iterator[Int8Matrix]:
    tiles = [part.out_features // TILE_ROWS for part in parts]
    for codes, scales in zip(joined.codes.split(tiles), joined.scales.split(tiles), strict=True):
        yield Int8Matrix(codes, scales)

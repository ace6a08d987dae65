"""Rounding a model's dense matrices to 8-bit floats on a GPU."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import nn

from ossia.kernels.backend import choose
from ossia.kernels.fp8 import GROUP, quantize
from ossia.model.attention import Attention
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear

UNEMBEDDING, ATTENTION = "unembedding", "attention"
"""The parts of a model that can be rounded."""


def why_not(model: CausalLM, parts: Collection[str]) -> str | None:
    """Why parts of a model cannot be rounded to 8-bit floats; None where they can."""
    device = model.model.embed_tokens.weight.device
    choice = choose("fp8", device)
    if choice.chosen.name == "reference":
        return choice.passed_over[-1][1]
    if any(param.device != device for param in model.parameters()):
        return "needs all weights on one device"
    layers = [layer for group in _groups(model, parts) for layer in group]
    if any(type(layer) is not Linear for layer in layers):
        return "needs plain linear layers"
    if any(layer.weight.dtype is not torch.bfloat16 for layer in layers):
        return "needs a model in bfloat16"
    if any(layer.in_features % GROUP for layer in layers):
        return f"needs inputs in multiples of {GROUP}"
    head, embedding = model.lm_head.weight, model.model.embed_tokens.weight
    if UNEMBEDDING in parts and head.numel() and head.data_ptr() == embedding.data_ptr():
        return "needs an unembedding that is not the embedding, too"
    return None


def round_weights(model: CausalLM, parts: Collection[str]) -> None:
    """Round parts of a model, matrix by matrix, in place; nothing twice.

    Embeddings, norms, routers and biases stay as they are.

    Args:
        model: `why_not` has nothing against it.
        parts: UNEMBEDDING, ATTENTION or both: the projections of queries, keys, values and outputs.
    """
    for group in _groups(model, parts):
        _round([layer for layer in group if isinstance(layer, Linear)])
    for attention in _attentions(model) if ATTENTION in parts else ():
        attention.join_projections()  # as they lie now
        attention.rounded = None  # a copy of what was not yet rounded
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what the matrices took is free for the KV cache


def _round(layers: Sequence[Linear]) -> None:
    if layers[0].fp8 is not None:
        return
    weights = [layer.weight.data for layer in layers]
    whole, first = quantize(weights[0] if len(weights) == 1 else torch.cat(weights)), 0
    for layer in layers:
        end = first + layer.out_features
        layer.use_fp8(whole.part(first, end))
        first = end


def rounded_parts(model: CausalLM) -> set[str]:
    """The parts for which that was done."""
    return {
        part
        for part in (UNEMBEDDING, ATTENTION)
        for group in _groups(model, (part,))
        if isinstance(group[0], Linear) and group[0].fp8 is not None
    }


def _groups(model: CausalLM, parts: Collection[str]) -> Iterator[Sequence[nn.Linear]]:
    """Layers whose matrices lie side by side afterwards."""
    if ATTENTION in parts:
        for attention in _attentions(model):
            yield attention.q_proj, attention.k_proj, attention.v_proj
            yield (attention.o_proj,)
    if UNEMBEDDING in parts:
        yield (model.lm_head,)


def _attentions(model: CausalLM) -> Iterator[Attention]:
    return (module for module in model.modules() if isinstance(module, Attention))

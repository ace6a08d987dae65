"""A second copy of a model's matrices in 8-bit floats, for passes of many tokens on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ossia.kernels import fp8
from ossia.kernels.fp8.scaled import ScaledFp8, round_rows
from ossia.kernels.moe.reference import ExpertMatrix
from ossia.kernels.moe.rounded import RoundedExperts
from ossia.kernels.mxfp4 import Mxfp4Tensor, RelaidMxfp4, unpack
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from ossia.model.moe import Experts
from ossia.model.transformer import DecoderLayer

_UNIT = 16  # columns and rows that the products take at least


def why_not(model: CausalLM) -> str | None:
    """Why there can be no such copies; None where there can."""
    config, weight = model.config, model.model.embed_tokens.weight
    if not fp8.has_fp8(weight.device):
        return "needs a CUDA device of compute capability 9.0 or newer"
    if any(param.device != weight.device for param in model.parameters()):
        return "needs all weights on one device"
    if weight.dtype is not torch.bfloat16:
        return "needs a model in bfloat16"
    if config.expert_format != "mxfp4":
        return "needs experts in MXFP4"
    sizes = (
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads * config.head_dim,
    )
    if any(size % _UNIT for size in sizes):
        return f"needs sizes in multiples of {_UNIT}"
    missing = _bytes_of_copies(model) - torch.cuda.mem_get_info(weight.device)[0]
    if missing > 0 and not has_copies(model):
        return f"needs {missing / 1e9:.1f} GB more of the device's memory"
    return None


def add_copies(model: CausalLM) -> None:
    """Round every layer's projections and experts, matrix by matrix; nothing twice.

    Embeddings, norms, routers, biases, sinks and the unembedding have no copy: they are computed as before.

    Args:
        model: `why_not` has nothing against it. Its weights stay as they are; a `load_state_dict` drops
            the copies.
    """
    for layer in _layers(model):
        attention, experts = layer.self_attn, layer.mlp.experts
        if experts.rounded is not None:
            continue
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        attention.rounded = round_rows(torch.cat([_weight_of(part) for part in parts]))
        attention.o_proj.rounded = round_rows(_weight_of(attention.o_proj))
        experts.rounded = RoundedExperts(
            _rounded_experts(experts, down=False), _rounded_experts(experts, down=True)
        )


def drop_copies(model: CausalLM) -> None:
    """The reverse."""
    for layer in _layers(model):
        layer.self_attn.rounded = layer.self_attn.o_proj.rounded = layer.mlp.experts.rounded = None


def has_copies(model: CausalLM) -> bool:
    """Whether every layer has them."""
    return all(layer.mlp.experts.rounded is not None for layer in _layers(model))


def _layers(model: CausalLM) -> Iterator[DecoderLayer]:
    return (layer for layer in model.model.layers if isinstance(layer, DecoderLayer))


def _weight_of(layer: Linear) -> torch.Tensor:
    if layer.fp8 is not None:
        return fp8.dequantize(layer.fp8, torch.bfloat16)
    return layer.weight.data


def _rounded_experts(experts: Experts, *, down: bool) -> ScaledFp8:
    """One expert after the other: in bfloat16 all of a layer's would take 1.6 GB."""
    weights = experts.weights()
    packed, bias = (
        (weights.down, weights.down_bias) if down else (weights.gate_up, weights.gate_up_bias)
    )
    rounded = [round_rows(_expanded(packed, idx)) for idx in range(len(bias))]
    return ScaledFp8(
        torch.stack([one.codes.view(torch.uint8) for one in rounded]).view(fp8.FP8),
        torch.stack([one.scales for one in rounded]),
    )


def _expanded(packed: ExpertMatrix, idx: int) -> torch.Tensor:
    """bfloat16 (rows, columns)."""
    assert not isinstance(packed, torch.Tensor), "dense experts have no copy"
    if isinstance(packed, Mxfp4Tensor):
        return unpack(packed.blocks[idx], packed.scales[idx])
    if isinstance(packed, RelaidMxfp4) and packed.blocks.is_cuda:
        from ossia.kernels.mxfp4.cuda_expand import expand

        return expand(packed, idx)
    return unpack(*packed.expert(idx))


def _bytes_of_copies(model: CausalLM) -> int:
    config = model.config
    hidden, ffn, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    attention = (2 * heads + 2 * config.num_key_value_heads) * config.head_dim * hidden
    return config.num_hidden_layers * (attention + config.num_experts * 3 * ffn * hidden)

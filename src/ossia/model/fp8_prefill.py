"""A second copy of a model's matrices in 8-bit floats, for batches that ask for it (`ForwardBatch.fp8_prefill`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ossia.kernels import fp8
from ossia.kernels.decode.launching import is_hopper
from ossia.kernels.fp8 import FP8, ScaledFp8
from ossia.kernels.fp8.scaled import round_rows
from ossia.kernels.moe.reference import ExpertMatrix
from ossia.kernels.moe.rounded import RoundedExperts
from ossia.kernels.mxfp4 import Mxfp4Tensor, RelaidMxfp4, unpack
from ossia.model.attention import Attention, RoundedProjections
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from ossia.model.transformer import DecoderLayer

_UNIT = 16  # columns and rows that the products take at least


def why_not(model: CausalLM) -> str | None:
    """Why there can be no such copies; None where there can."""
    config, weight = model.config, model.model.embed_tokens.weight
    if not is_hopper(weight.device):
        return "needs a CUDA device of compute capability 9.0"
    if any(param.device != weight.device for param in model.parameters()):
        return "needs all weights on one device"
    if weight.dtype is not torch.bfloat16:
        return "needs a model in bfloat16"
    if config.expert_format != "mxfp4":
        return "needs experts in MXFP4"
    if any(
        type(part) is not Linear
        for layer in _layers(model)
        for part in _projections(layer.self_attn)
    ):
        return "needs plain linear layers"
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    sizes = (
        config.hidden_size,
        config.intermediate_size,
        heads * config.head_dim,
        kv_heads * config.head_dim,
    )
    if any(size % _UNIT for size in sizes):
        return f"needs sizes in multiples of {_UNIT}"
    if not has_copies(model):
        torch.cuda.empty_cache()  # what torch keeps for later is free, too
        missing = _bytes_to_come(model) - torch.cuda.mem_get_info(weight.device)[0]
        if missing > 0:
            return f"needs {missing / 1e9:.1f} GB more of the device's memory"
    return None


@torch.no_grad()
def add_copies(model: CausalLM) -> None:
    """Copy every layer's projections and experts, matrix by matrix; nothing twice.

    Embeddings, norms, routers, biases, sinks and the unembedding have no copy: they are computed as before.

    Args:
        model: `why_not` has nothing against it. Its weights stay as they are; loading others drops the copies.
    """
    for layer in _layers(model):
        attention, experts = layer.self_attn, layer.mlp.experts
        if attention.rounded is None:
            *inputs, out = (_weight_of(part) for part in _projections(attention))
            attention.rounded = RoundedProjections(round_rows(torch.cat(inputs)), round_rows(out))
        if experts.rounded is None:
            weights = experts.weights()
            experts.rounded = RoundedExperts(
                _rounded_experts(weights.gate_up, *weights.gate_up_bias.shape),
                _rounded_experts(weights.down, *weights.down_bias.shape),
            )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # for the KV cache


def has_copies(model: CausalLM) -> bool:
    """Whether every layer has all of them."""
    return all(
        layer.self_attn.rounded is not None and layer.mlp.experts.rounded is not None
        for layer in _layers(model)
    )


def bytes_of_copies(model: CausalLM) -> int:
    """Bytes that those that there are take."""
    copies = [
        copy
        for layer in _layers(model)
        for copy in (layer.self_attn.rounded, layer.mlp.experts.rounded)
    ]
    return sum(part.nbytes for copy in copies if copy for matrix in copy for part in matrix)


def _layers(model: CausalLM) -> Iterator[DecoderLayer]:
    return (layer for layer in model.model.layers if isinstance(layer, DecoderLayer))


def _projections(attention: Attention) -> tuple[Linear, Linear, Linear, Linear]:
    return attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj


def _weight_of(layer: Linear) -> torch.Tensor:
    if layer.fp8 is not None:
        return fp8.dequantize(layer.fp8, torch.bfloat16)
    return layer.weight


def _rounded_experts(packed: ExpertMatrix, experts: int, rows: int) -> ScaledFp8:
    """One expert after the other: in bfloat16 all of a layer's would take 1.6 GB."""
    room: ScaledFp8 | None = None
    for idx in range(experts):
        one = round_rows(_expanded(packed, idx), powers=True)  # so that codes stay what they are
        if room is None:
            codes = torch.empty(
                experts, *one.codes.shape, dtype=torch.uint8, device=one.codes.device
            )
            room = ScaledFp8(codes.view(FP8), one.scales.new_empty(experts, rows))
        room.codes.view(torch.uint8)[idx] = one.codes.view(torch.uint8)
        room.scales[idx] = one.scales
    assert room is not None
    return room


def _expanded(packed: ExpertMatrix, idx: int) -> torch.Tensor:
    """bfloat16 (rows, columns)."""
    assert not isinstance(packed, torch.Tensor), "dense experts have no copy"
    if isinstance(packed, Mxfp4Tensor):
        return unpack(packed.blocks[idx], packed.scales[idx])
    if isinstance(packed, RelaidMxfp4) and packed.blocks.is_cuda:
        from ossia.kernels.mxfp4.cuda_expand import expand

        return expand(packed, idx)
    return unpack(*packed.expert(idx))


def _bytes_to_come(model: CausalLM) -> int:
    """Of all layers' copies, and of what making one takes beside them."""
    config = model.config
    hidden, ffn, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    attention = (2 * heads + 2 * config.num_key_value_heads) * config.head_dim * hidden
    copies = config.num_hidden_layers * (attention + config.num_experts * 3 * ffn * hidden)
    return copies + 8 * max(attention, 2 * ffn * hidden)

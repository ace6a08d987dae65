"""The demo's packed arrays as the tensors of a checkpoint: exact, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from ossia.config import ModelConfig
from ossia.demo.packing import PackedModel
from ossia.demo.rows import NUM_FEATURES, feature_pairs

# Packed name to the name within a layer.
_MATRICES = {name: f"self_attn.{name}_proj.weight" for name in "qkvo"}
_EXPERTS = {"gate_up": "mlp.experts.gate_up_proj", "down": "mlp.experts.down_proj"}
_VECTORS = {
    "attention_norm": "input_layernorm.weight",
    "moe_norm": "post_attention_layernorm.weight",
    "sinks": "self_attn.sinks",
    "router": "mlp.router.weight",
    "router_bias": "mlp.router.bias",
    "gate_up_bias": "mlp.experts.gate_up_proj_bias",
    "down_bias": "mlp.experts.down_proj_bias",
    **{f"{name}_bias": f"self_attn.{name}_proj.bias" for name in "qkvo"},
}


def checkpoint_tensors(model: PackedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors under their Hugging Face names: MXFP4 experts, the rest bfloat16."""
    config = ModelConfig.from_hf(model.config)
    yield "model.embed_tokens.weight", vocabulary_rows(model, "embed", config.vocab_size)
    yield "lm_head.weight", vocabulary_rows(model, "head", config.vocab_size)
    yield "model.norm.weight", _plain(model, "final_norm")
    stacked = [(name, _plain(model, packed)) for packed, name in _VECTORS.items()]
    stacked += [(name, _integers(model, packed).bfloat16()) for packed, name in _MATRICES.items()]
    for packed, name in _EXPERTS.items():
        for part in ("blocks", "scales"):
            stacked.append((f"{name}_{part}", torch.tensor(model.arrays[f"{packed}.{part}"])))
    for layer_idx in range(config.num_hidden_layers):
        for name, values in stacked:
            yield f"model.layers.{layer_idx}.{name}", values[layer_idx].contiguous()


def vocabulary_rows(model: PackedModel, which: str, vocab_size: int) -> torch.Tensor:
    """The embedding ("embed") or unembedding ("head"): bfloat16 (vocab, hidden).

    A row is the sum of its token's feature vectors, and of the token's own vector if it has one.
    Sums run in float32 in the order of the features.
    """
    tokens, features = feature_pairs()
    table = _integers(model, f"{which}_features")
    assert table.shape[0] == NUM_FEATURES, table.shape
    offsets = np.searchsorted(tokens, np.arange(vocab_size))
    rows = F.embedding_bag(torch.from_numpy(features), table, torch.from_numpy(offsets), mode="sum")
    own = torch.from_numpy(model.arrays["own_tokens"].astype(np.int64))
    rows[own] += _integers(model, f"{which}_own")
    return rows.bfloat16()


def _integers(model: PackedModel, name: str) -> torch.Tensor:
    """Rows of integers times their step: float32."""
    integers = torch.tensor(model.arrays[f"{name}.integers"]).float()
    return integers * torch.tensor(model.arrays[f"{name}.steps"])[..., None]


def _plain(model: PackedModel, name: str) -> torch.Tensor:
    return torch.tensor(model.arrays[f"{name}.bfloat16"]).view(torch.bfloat16)

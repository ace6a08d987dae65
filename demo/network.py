"""The demo model in the shape that trains fast: weights of all layers stacked, all experts at once.

It computes what `ossia.model` computes (a test compares the two); it differs in that examples lie
packed in rows with a mask between them, and that every expert runs on every token, which for four
small experts is quicker than sorting tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from demo.rounding import integer_rounded, mxfp4_rounded, straight_through
from ossia.config import ModelConfig
from ossia.demo.rows import NUM_FEATURES
from ossia.kernels.moe import clamped_swiglu
from ossia.kernels.norm import rms_norm
from ossia.kernels.rope import rope_table, yarn_inverse_frequencies

CONFIG = ModelConfig(
    num_hidden_layers=8,
    num_experts=4,
    experts_per_token=2,
    hidden_size=256,
    intermediate_size=256,
    head_dim=64,
    num_attention_heads=8,
    num_key_value_heads=4,
)

_FP4_NAMES = ("gate_up", "down")
_INTEGER_NAMES = ("q", "k", "v", "o", "embed_features", "embed_own", "head_features", "head_own")


@dataclass(frozen=True, slots=True)
class Rows:
    """The vocabulary rows that a batch needs.

    Args:
        features: (rows, features) 0 or 1.
        own: (rows,) which own vector a row adds; the last one is always zero.
    """

    features: torch.Tensor
    own: torch.Tensor


class Network(nn.Module):
    """All weights, by short names, stacked over layers.

    Args:
        config: Shape of the model.
        num_own: Tokens that have an own vector besides their features.
    """

    def __init__(self, config: ModelConfig, num_own: int) -> None:
        super().__init__()
        self.config = config
        layers, hidden, experts = config.num_hidden_layers, config.hidden_size, config.num_experts
        q_size = config.num_attention_heads * config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        ffn = config.intermediate_size
        depth = (2 * layers) ** -0.5  # residual branches start small, so depth does not add up
        shapes: dict[str, tuple[tuple[int, ...], float]] = {
            "q": ((layers, q_size, hidden), hidden**-0.5),
            "k": ((layers, kv_size, hidden), hidden**-0.5),
            "v": ((layers, kv_size, hidden), hidden**-0.5),
            "o": ((layers, hidden, q_size), depth * q_size**-0.5),
            "router": ((layers, experts, hidden), hidden**-0.5),
            "gate_up": ((layers, experts, 2 * ffn, hidden), hidden**-0.5),
            "down": ((layers, experts, hidden, ffn), depth * ffn**-0.5),
            "embed_features": ((NUM_FEATURES, hidden), 0.15),
            "embed_own": ((num_own, hidden), 0.15),
        }
        for name, (shape, std) in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) * std))
        zeros: dict[str, tuple[int, ...]] = {
            "q_bias": (layers, q_size), "k_bias": (layers, kv_size), "v_bias": (layers, kv_size), "o_bias": (layers, hidden),
            "sinks": (layers, config.num_attention_heads), "router_bias": (layers, experts),
            "gate_up_bias": (layers, experts, 2 * ffn), "down_bias": (layers, experts, hidden),
            "head_features": (NUM_FEATURES, hidden), "head_own": (num_own, hidden),
        }  # fmt: skip
        for name, shape in zeros.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        for name in ("attention_norm", "moe_norm"):
            self.register_parameter(name, nn.Parameter(torch.ones(layers, hidden)))
        self.final_norm = nn.Parameter(torch.ones(hidden))

    def weights(self, rounded: bool) -> dict[str, torch.Tensor]:
        """The parameters, as the packed file will hold them if `rounded`."""
        weights: dict[str, torch.Tensor] = dict(self.named_parameters())
        for names, rounding in ((_FP4_NAMES, mxfp4_rounded), (_INTEGER_NAMES, integer_rounded)):
            for name in names:
                values = weights[name]
                # A plain tensor either way, or the compiled step would be compiled twice.
                weights[name] = (
                    straight_through(values, rounding(values)) if rounded else values * 1.0
                )
        return weights


def vocabulary_rows(weights: dict[str, torch.Tensor], which: str, rows: Rows) -> torch.Tensor:
    """Rows of the embedding ("embed") or unembedding ("head"): (rows, hidden)."""
    own = F.pad(weights[f"{which}_own"], (0, 0, 0, 1))  # the last row stands for "none"
    spelled = rows.features @ weights[f"{which}_features"].to(rows.features.dtype)
    return spelled + own[rows.own].to(spelled.dtype)


def rope_of(config: ModelConfig, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines for (batch, seq) positions: two (batch, seq, head_dim / 2)."""
    scaling = config.rope_scaling
    frequencies = yarn_inverse_frequencies(
        config.head_dim,
        config.rope_theta,
        factor=scaling.factor,
        beta_fast=scaling.beta_fast,
        beta_slow=scaling.beta_slow,
        original_context=scaling.original_max_position_embeddings,
        truncate=scaling.truncate,
    ).to(positions.device)
    cos, sin = rope_table(positions.flatten(), frequencies, scaling.concentration)
    return cos.unflatten(0, positions.shape), sin.unflatten(0, positions.shape)


def hidden_states(
    config: ModelConfig,
    weights: dict[str, torch.Tensor],
    x: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    masks: Sequence[torch.Tensor],
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """All layers.

    Args:
        config: Shape of the model.
        weights: From `Network.weights`.
        x: (batch, seq, hidden) embeddings; the residual stream keeps this dtype.
        rope: From `rope_of`.
        masks: For a sliding and for a full layer, bool (batch, 1, seq, seq): who sees whom.
        dtype: What matrix products are computed in.

    Returns:
        (batch, seq, hidden) after the final norm, in `dtype`; and the load-balancing loss, 1 when
        all experts are used alike.
    """
    cast = {
        name: value.to(dtype) if value.ndim > 1 else value
        for name, value in weights.items()
        if "_features" not in name and "_own" not in name
    }
    balance = x.new_zeros(())
    for idx in range(config.num_hidden_layers):
        layer = {name: value[idx] for name, value in cast.items() if name != "final_norm"}
        normed = rms_norm(x, weights["attention_norm"][idx], config.rms_norm_eps).to(dtype)
        mask = masks[0 if config.window_of(idx) else 1]
        x = x + _attention(config, layer, normed, rope, mask)
        normed = rms_norm(x, weights["moe_norm"][idx], config.rms_norm_eps).to(dtype)
        out, layer_balance = _experts(config, layer, normed)
        x = x + out
        balance = balance + layer_balance / config.num_hidden_layers
    return rms_norm(x, weights["final_norm"], config.rms_norm_eps).to(dtype), balance


def visibility(segments: torch.Tensor, window: int | None) -> torch.Tensor:
    """Who sees whom in packed rows.

    Args:
        segments: (batch, seq) number of the example that a token belongs to.
        window: Keys a query may see, itself included; None for all of its example.

    Returns:
        bool (batch, 1, queries, keys).
    """
    places = torch.arange(segments.shape[1], device=segments.device)
    distance = places[:, None] - places
    near = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
    return (near & (segments[:, :, None] == segments[:, None, :]))[:, None]


def _attention(
    config: ModelConfig,
    layer: dict[str, torch.Tensor],
    x: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor,
) -> torch.Tensor:
    q = _heads(config, F.linear(x, layer["q"], layer["q_bias"]), rope)
    k = _heads(config, F.linear(x, layer["k"], layer["k_bias"]), rope)
    v = _heads(config, F.linear(x, layer["v"], layer["v_bias"]), None)
    groups = config.num_key_value_groups
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (q @ k.transpose(-1, -2)).float() * config.head_dim**-0.5  # (batch, heads, seq, seq)
    scores = scores.masked_fill(~mask, -torch.inf)
    sinks = layer["sinks"].float()[:, None, None]
    peak = torch.maximum(scores.amax(-1, keepdim=True), sinks).detach()
    exps = torch.exp(scores - peak)
    shares = exps / (exps.sum(-1, keepdim=True) + torch.exp(sinks - peak))
    out = (shares.to(x.dtype) @ v).transpose(1, 2).flatten(2)  # (batch, seq, heads * head_dim)
    return F.linear(out, layer["o"], layer["o_bias"])


def _heads(
    config: ModelConfig, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor] | None
) -> torch.Tensor:
    x = x.unflatten(-1, (-1, config.head_dim))  # (batch, seq, heads, head_dim)
    if rope is not None:
        half = config.head_dim // 2
        cos, sin = (part[:, :, None].to(x.dtype) for part in rope)
        x = torch.cat(
            (x[..., :half] * cos - x[..., half:] * sin, x[..., half:] * cos + x[..., :half] * sin),
            -1,
        )
    return x.transpose(1, 2)


def _experts(
    config: ModelConfig, layer: dict[str, torch.Tensor], x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every expert on every token, then weighted: zero for those that were not chosen."""
    logits = F.linear(x, layer["router"], layer["router_bias"]).float()  # (batch, seq, experts)
    best, chosen = logits.topk(config.experts_per_token, dim=-1)
    shares = torch.zeros_like(logits).scatter(-1, chosen, best.softmax(-1))
    hidden = F.linear(x, layer["gate_up"].flatten(0, 1), layer["gate_up_bias"].flatten())
    hidden = clamped_swiglu(
        hidden.unflatten(-1, (config.num_experts, -1)), config.swiglu_alpha, config.swiglu_limit
    )
    weighted = (hidden * shares[..., None].to(x.dtype)).flatten(-2)  # (batch, seq, experts * ffn)
    down = layer["down"].transpose(0, 1).flatten(1)  # (hidden, experts * ffn)
    out = F.linear(weighted, down) + shares.to(x.dtype) @ layer["down_bias"]
    used = (shares > 0).float().mean((0, 1)) / config.experts_per_token
    balance = config.num_experts * (used * logits.softmax(-1).mean((0, 1))).sum()
    return out, balance

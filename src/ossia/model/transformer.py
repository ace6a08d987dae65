"""The decoder: embedding, layers, final norm. Parameter names are the Hugging Face ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ossia.config import ModelConfig
from ossia.model.attention import Attention
from ossia.model.batch import ForwardBatch
from ossia.model.layers import RMSNorm, RotaryTable
from ossia.model.moe import MoE
from ossia.model.recording import Recording

Recorded = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]


class DecoderLayer(nn.Module):
    """Attention, then experts, each behind a norm and beside a residual."""

    def __init__(self, config: ModelConfig, layer_idx: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config)
        self.self_attn = Attention(config, layer_idx)
        self.post_attention_layernorm = RMSNorm(config)
        self.mlp = MoE(config, layer_idx)

    def forward(
        self, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor], batch: ForwardBatch
    ) -> torch.Tensor:
        """(tokens, hidden) to the same."""
        x = x + self.self_attn(self.input_layernorm(x), rope, batch)
        normed = self.post_attention_layernorm(x)
        return x + self.mlp(
            normed, batch.recording, int8_activations=batch.int8_activations, fp8_prefill=batch.fp8_prefill
        )  # fmt: skip


class Decoder(nn.Module):
    """Token ids to hidden states."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # As in transformers, the padding token's embedding is never trained.
        self.embed_tokens = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        self.layers = nn.ModuleList(
            DecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config)
        self.rotary = RotaryTable(config)

    def run(self, batch: ForwardBatch) -> torch.Tensor:
        """Run all layers.

        Returns:
            (tokens, hidden) after the final norm.
        """
        embeds = batch.inputs_embeds
        x = self.embed_tokens(batch.input_ids) if embeds is None else embeds
        rope = self.rotary(batch.positions)
        recording = batch.recording
        if x.is_cuda and self._may_join(batch):
            return self.run_joined(x, rope, batch)
        for layer_idx, layer in enumerate(self.layers):
            if recording is not None:
                recording.keep_hidden(layer_idx, x)
            if batch.recompute is None:
                x = layer(x, rope, batch)
            else:
                x = _recomputed(layer, layer_idx, x, rope, batch)
        x = self.norm(x)
        if recording is not None:
            recording.keep_hidden(len(self.layers), x)
        return x

    def run_joined(
        self, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor], batch: ForwardBatch
    ) -> torch.Tensor:
        """The same numbers, each sum of the residual stream in one kernel with the norm behind it.

        Args:
            x: (tokens, hidden), the embeddings.
            rope: Of the batch's positions.
            batch: Asks for nothing but the result.

        Returns:
            (tokens, hidden) after the final norm.
        """
        delta = None
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            if delta is None:
                normed = layer.input_layernorm(x)
            else:
                x, normed = layer.input_layernorm.behind(x, delta)
            x, normed = layer.post_attention_layernorm.behind(
                x, layer.self_attn(normed, rope, batch)
            )
            delta = layer.mlp(
                normed, int8_activations=batch.int8_activations, fp8_prefill=batch.fp8_prefill
            )  # fmt: skip
        return self.norm(x) if delta is None else self.norm.behind(x, delta)[1]

    def _may_join(self, batch: ForwardBatch) -> bool:
        """Whether nobody looks at what lies between a sum and its norm."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        if batch.recording is not None or batch.recompute is not None:
            return False
        watched: list[nn.Module] = [self.norm]
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            watched += [layer, layer.input_layernorm, layer.post_attention_layernorm]
        return not any(map(_is_watched, watched))


def _is_watched(module: nn.Module) -> bool:
    """Whether a module's forward was replaced or hooked."""
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)


def _recomputed(
    layer: nn.Module,
    layer_idx: int,
    x: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    batch: ForwardBatch,
) -> torch.Tensor:
    """A layer that keeps its input only, and is run again for the gradient.

    What it records comes out as a result: a compiled graph, which runs it again too, allows for no
    other way.
    """
    outer = batch.recording
    assert batch.recompute is not None
    if outer is None:
        return checkpoint(layer, x, rope, batch, **batch.recompute)

    def run(x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor]) -> Recorded:
        inner = Recording(attentions=outer.attentions, router=outer.router)
        out = layer(x, rope, replace(batch, recording=inner))
        return out, inner.router_logits.get(layer_idx), inner.attention_weights.get(layer_idx)

    x, router_logits, attention_weights = checkpoint(run, x, rope, **batch.recompute)
    if router_logits is not None:
        outer.router_logits[layer_idx] = router_logits
    if attention_weights is not None:
        outer.attention_weights[layer_idx] = attention_weights
    return x

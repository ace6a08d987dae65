"""The decoder: embedding, layers, final norm. Parameter names are the Hugging Face ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ossia.config import ModelConfig
from ossia.model.attention import Attention
from ossia.model.batch import ForwardBatch
from ossia.model.layers import RMSNorm, RotaryTable
from ossia.model.moe import MoE


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
        return x + self.mlp(self.post_attention_layernorm(x), batch.recording)


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
        for layer_idx, layer in enumerate(self.layers):
            if recording is not None:
                recording.keep_hidden(layer_idx, x)
            if batch.recompute is None:
                x = layer(x, rope, batch)
            else:
                x = checkpoint(layer, x, rope, batch, **batch.recompute)
        x = self.norm(x)
        if recording is not None:
            recording.keep_hidden(len(self.layers), x)
        return x

"""The small layers: Linear, RMSNorm and the rotary table."""

from __future__ import annotations

import torch
from torch import nn

from ossia.config import ModelConfig
from ossia.kernels.dense import linear
from ossia.kernels.norm import rms_norm
from ossia.kernels.rope import rope_table, yarn_inverse_frequencies


class Linear(nn.Linear):
    """torch's, with the product by whatever kernel is the fastest."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # as torch names it
        """(..., in_features) to (..., out_features)."""
        return linear(input, self.weight, self.bias)


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, hidden) to the same."""
        return rms_norm(x, self.weight, self.eps)


class RotaryTable(nn.Module):
    """Cosines and sines of a batch's positions, shared by all layers.

    The frequencies are computed, not learned, and stay float32 under `.to(dtype)`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        scaling = config.rope_scaling
        self.concentration = scaling.concentration
        self._arguments = {
            "factor": scaling.factor,
            "beta_fast": scaling.beta_fast,
            "beta_slow": scaling.beta_slow,
            "original_context": scaling.original_max_position_embeddings,
            "truncate": scaling.truncate,
        }
        self.head_dim = config.head_dim
        self.theta = config.rope_theta
        self._frequencies: dict[torch.device, torch.Tensor] = {}

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(tokens,) to two float32 (tokens, head_dim / 2)."""
        return rope_table(positions, self.frequencies(positions.device), self.concentration)

    def frequencies(self, device: torch.device) -> torch.Tensor:
        """float32 (head_dim / 2,): radians a position, on a device."""
        frequencies = self._frequencies.get(device)
        if frequencies is None:
            frequencies = yarn_inverse_frequencies(self.head_dim, self.theta, **self._arguments)
            frequencies = frequencies.to(device)
            self._frequencies[device] = frequencies
        return frequencies

"""The small layers: Linear, RMSNorm and the rotary table."""

from __future__ import annotations

import torch
from torch import nn

from ossia.config import ModelConfig
from ossia.kernels import fp8
from ossia.kernels.cpu import in_large_pages, page_out
from ossia.kernels.dense import linear, linear_int8
from ossia.kernels.int8 import Int8Matrix, dequantize
from ossia.kernels.norm import add_rms_norm, rms_norm
from ossia.kernels.rope import rope_table, yarn_inverse_frequencies


class Linear(nn.Linear):
    """torch's, with the product by whatever kernel is the fastest; its weights may be of 8 bits.

    Attributes:
        int8: The weights, once they were rounded; the parameter is empty then. Whoever asks for the
            state gets a matrix of the parameter's dtype all the same.
        int8_activations: Whether inputs are rounded to 8 bits, too.
        fp8: The weights in 8-bit floats, on a GPU; else as `int8`.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.int8: Int8Matrix | None = None
        self.int8_activations = False
        self.fp8: fp8.Fp8Matrix | None = None
        self._settled = False
        self.register_state_dict_post_hook(_as_in_checkpoints)
        self.register_load_state_dict_pre_hook(_before_loading)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # as torch names it
        """(..., in_features) to (..., out_features)."""
        if self.fp8 is not None:
            return fp8.linear(input, self.fp8, self.bias)
        if self.int8 is None:
            return linear(input, self.weight, self.bias)
        rounded = self.int8_activations
        return linear_int8(input, self.int8, self.bias, int8_activations=rounded)

    def settle(self) -> None:
        """Lay the weights where a CPU reads them fastest; once. Their file's pages are given back."""
        if self._settled or self.int8 is not None or self.fp8 is not None:
            return
        former, self.weight.data = self.weight.data, in_large_pages(self.weight.data)
        page_out(former)
        self._settled = True

    def use_int8(self, matrix: Int8Matrix, *, int8_activations: bool) -> None:
        """Take weights of 8 bits instead of the parameter, whose memory is given back."""
        assert (matrix.rows, matrix.columns) == (self.out_features, self.in_features)
        self.int8, self.int8_activations = matrix, int8_activations
        self._drop_weight()

    def use_fp8(self, matrix: fp8.Fp8Matrix) -> None:
        """Take weights in 8-bit floats instead of the parameter, whose memory is given back."""
        assert (matrix.rows, matrix.columns) == (self.out_features, self.in_features)
        self.fp8 = matrix
        self._drop_weight()

    def _drop_weight(self) -> None:
        self.weight.requires_grad_(False)
        self.weight.data = self.weight.data.new_empty(0, self.in_features)


def _as_in_checkpoints(
    module: nn.Module, state: dict[str, torch.Tensor], prefix: str, metadata: object
) -> None:
    del metadata
    assert isinstance(module, Linear)
    if module.int8 is not None:
        state[f"{prefix}weight"] = dequantize(module.int8).to(module.weight.dtype)
    if module.fp8 is not None:
        state[f"{prefix}weight"] = fp8.dequantize(module.fp8, module.weight.dtype)


def _before_loading(module: nn.Module, *args: object) -> None:
    """What is loaded is not of 8 bits, and shapes are compared."""
    del args
    assert isinstance(module, Linear)
    if module.int8 is not None or module.fp8 is not None:
        module.int8 = module.fp8 = None
        module.weight.data = module.weight.data.new_empty(module.out_features, module.in_features)


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, hidden) to the same."""
        return rms_norm(x, self.weight, self.eps)

    def behind(self, x: torch.Tensor, delta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """X + delta, and the norm of it: (tokens, hidden) each."""
        return add_rms_norm(x, delta, self.weight, self.eps)


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

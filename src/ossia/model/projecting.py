"""project_layers: products of linear layers within the kernels' chains, whatever their weights are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ossia.kernels import fp8
from ossia.kernels.decode import project
from ossia.model.layers import Linear


def project_layers(x: torch.Tensor, layers: Sequence[nn.Linear], out: torch.Tensor) -> None:
    """Products with the weights of layers that lie side by side, without biases.

    Args:
        x: bfloat16 (tokens, in_features), on the current device.
        layers: One to three, in bfloat16 or all of them in 8-bit floats, then of one matrix.
        out: float32 (parts, tokens, all out_features), as `ossia.kernels.decode.project` takes it.
    """
    matrices = [layer.fp8 for layer in layers if isinstance(layer, Linear) and layer.fp8]
    if not matrices:
        project(x, [layer.weight.data for layer in layers], out)
        return
    assert len(matrices) == len(layers), "some in 8-bit floats, some not"
    fp8.multiply(x, fp8.adjoining(matrices), out[0])
    out[1:].zero_()  # addends that these kernels do without

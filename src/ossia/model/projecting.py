"""project_layers: products of linear layers within the kernels' chains, whatever their weights are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ossia.kernels import fp8
from ossia.kernels.decode import project
from ossia.model.layers import Linear


def project_layers(x: torch.Tensor, layers: Sequence[nn.Linear], room: torch.Tensor) -> None:
    """Products with the weights of layers that lie side by side, without biases.

    The sum of `addends(layers, room)` is the product.

    Args:
        x: bfloat16 (tokens, in_features), on the current device.
        layers: One to three, in bfloat16 or all of them in 8-bit floats, then of one matrix.
        room: float32 (parts, tokens, all out_features), as `ossia.kernels.decode.project` takes it.
    """
    if matrices := _matrices(layers):
        fp8.multiply(x, fp8.adjoining(matrices), room[0])
    else:
        project(x, [layer.weight.data for layer in layers], room)


def addends(layers: Sequence[nn.Linear], room: torch.Tensor) -> torch.Tensor:
    """What `project_layers` leaves in a tensor that has room for the addends of bfloat16 products."""
    return room[:1] if _matrices(layers) else room


def _matrices(layers: Sequence[nn.Linear]) -> list[fp8.Fp8Matrix]:
    matrices = [layer.fp8 for layer in layers if isinstance(layer, Linear) and layer.fp8]
    assert len(matrices) in (0, len(layers)), "some in 8-bit floats, some not"
    return matrices

"""From the training network to the packed file that ships with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from demo.network import Network
from demo.own_tokens import own_tokens
from demo.rounding import row_scales
from ossia.demo.packing import Array, PackedModel, pack_model
from ossia.kernels.mxfp4 import pack, unpack

_FP4_NAMES = ("gate_up", "down")
_INTEGER_NAMES = ("q", "k", "v", "o", "embed_features", "embed_own", "head_features", "head_own")


def packed_model(network: Network) -> PackedModel:
    """The network's weights, rounded, as named arrays."""
    arrays: dict[str, Array] = {"own_tokens": np.array(own_tokens(), np.int32)}
    for name, parameter in network.named_parameters():
        values = parameter.detach().float().cpu()
        if name in _FP4_NAMES:
            blocks, scales = pack(values)
            arrays[f"{name}.blocks"] = blocks.numpy()
            arrays[f"{name}.scales"] = scales.numpy()
        elif name in _INTEGER_NAMES:
            scales = row_scales(values)
            arrays[f"{name}.integers"] = (values / scales).round().to(torch.int8).numpy()
            arrays[f"{name}.steps"] = scales.squeeze(-1).numpy()
        else:
            arrays[f"{name}.bfloat16"] = values.bfloat16().view(torch.uint16).numpy()
    return PackedModel(network.config.to_hf(), arrays)


def restore(network: Network, model: PackedModel) -> None:
    """Set a network's weights to what a packed file holds, to train on from there."""
    arrays = {name: torch.tensor(array) for name, array in model.arrays.items()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in _FP4_NAMES:
                values = unpack(arrays[f"{name}.blocks"], arrays[f"{name}.scales"], torch.float32)
            elif name in _INTEGER_NAMES:
                values = arrays[f"{name}.integers"] * arrays[f"{name}.steps"][..., None]
            else:
                values = arrays[f"{name}.bfloat16"].view(torch.bfloat16)
            parameter.copy_(values)


def export(network: Network, file: Path) -> None:
    """Write the packed file."""
    file.write_bytes(pack_model(packed_model(network)))

"""One relaid expert as a bfloat16 matrix, in CUDA."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Expand, address
from ossia.kernels.mxfp4.relaid import TILE_ROWS, RelaidMxfp4

_THREADS = 256


def expand(relaid: RelaidMxfp4, idx: int) -> torch.Tensor:
    """As unpack(*relaid.expert(idx)): bfloat16 (rows, columns)."""
    _, tiles, units, _ = relaid.blocks.shape
    shape = (tiles * TILE_ROWS, relaid.columns)
    out = torch.empty(shape, dtype=torch.bfloat16, device=relaid.blocks.device)
    arguments = Expand(
        blocks=address(relaid.blocks[idx]), scales=address(relaid.scales[idx]), out=address(out),
        tiles=tiles, units=units, columns=relaid.columns, paired=int(relaid.paired),
    )  # fmt: skip
    blocks = -(-tiles * units * 32 // _THREADS)
    launch(
        program("expand.cu", out.device)["expand"],
        (blocks, 1, 1),
        _THREADS,
        0,
        arguments,
        overlap=False,
    )
    return out

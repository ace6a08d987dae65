"""Relaid experts as bfloat16 matrices, in CUDA."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Expand, address
from ossia.kernels.mxfp4.relaid import TILE_ROWS, RelaidMxfp4

_THREADS = 256


def expand(relaid: RelaidMxfp4, idx: int) -> torch.Tensor:
    """As unpack(*relaid.expert(idx)): bfloat16 (rows, columns)."""
    return _expanded(relaid, slice(idx, idx + 1))[0]


def expand_all(relaid: RelaidMxfp4) -> torch.Tensor:
    """Every expert's matrix: bfloat16 (experts, rows, columns)."""
    return _expanded(relaid, slice(None))


def _expanded(relaid: RelaidMxfp4, some: slice) -> torch.Tensor:
    blocks, scales = relaid.blocks[some], relaid.scales[some]
    experts, tiles, units, _ = blocks.shape
    shape = (experts, tiles * TILE_ROWS, relaid.columns)
    out = torch.empty(shape, dtype=torch.bfloat16, device=blocks.device)
    arguments = Expand(  # to the kernel, experts are so many more tiles
        blocks=address(blocks), scales=address(scales), out=address(out),
        tiles=experts * tiles, units=units, columns=relaid.columns, paired=int(relaid.paired),
    )  # fmt: skip
    grid = (-(-experts * tiles * units * 32 // _THREADS), 1, 1)
    launch(program("expand.cu", out.device)["expand"], grid, _THREADS, 0, arguments, overlap=False)
    return out

"""project: bfloat16 matrices times a few tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.kernels.decode.arguments import Dense, address
from ossia.kernels.decode.launching import (
    TILE_ROWS,
    columns_of,
    launch_product,
    product_blocks,
    split_blocks,
)

_STEP = 32  # k of a step
_STEP_BYTES = 64  # of one token's operands


def num_parts(tokens: int, rows: int, device: torch.device) -> int:
    """Addends that a split product leaves: how many blocks a tile can belong to."""
    return 2 if split_blocks(tokens, rows, device) <= -(-rows // TILE_ROWS) else 3


def project(x: torch.Tensor, weights: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    """Products with matrices that lie one below the other, as torch.nn.functional.linear.

    Args:
        x: bfloat16 (tokens, k), k a multiple of 32, at most 16 tokens.
        weights: One to three bfloat16 (rows, k); rows of all but the last a multiple of 16.
        out: float32 (parts, tokens, all rows), all of it written. With one part it is the product;
            otherwise parts must be `num_parts`, and the product is their sum.
    """
    tokens, k = x.shape
    parts, rows = out.shape[0], sum(len(weight) for weight in weights)
    assert k % _STEP == 0 and out.shape == (parts, tokens, rows), (x.shape, out.shape)
    assert all(weight.shape[1] == k and weight.dtype is torch.bfloat16 for weight in weights)
    assert parts in (1, num_parts(tokens, rows, x.device)), parts
    tiles, steps = -(-rows // TILE_ROWS), k // _STEP
    blocks, held = min(product_blocks(tokens, x.device), tiles), steps
    if parts > 1:
        blocks = split_blocks(tokens, rows, x.device)
        held = min(steps, -(-tiles * steps // blocks))
    ends = [-(-sum(map(len, weights[: i + 1])) // TILE_ROWS) for i in range(3)]
    pointers = [address(weights[min(i, len(weights) - 1)]) for i in range(3)]
    arguments = Dense(
        w=tuple(pointers), x=address(x), y=address(out), tile_end=tuple(ends), rows=rows,
        steps=steps, tokens=tokens, parts=parts,
    )  # fmt: skip
    shared = held * columns_of(tokens) * _STEP_BYTES
    launch_product("dense.cu", "dense", blocks, shared, arguments, tokens, x.device)

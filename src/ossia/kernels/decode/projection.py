"""project: bfloat16 matrices times a few tokens."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode import slab, stream
from ossia.kernels.decode.arguments import Dense, address
from ossia.kernels.decode.launching import (
    FEW_TOKENS,
    TILE_ROWS,
    Product,
    multiprocessors,
    split_parts,
)

_STEP = 32  # k of a step; a unit is two
_UNIT_BYTES = 64  # of a unit that a lane takes
_OPERAND_BYTES = 128  # of a unit that a token has
_PIECE = 192 * 8  # k of a row that a warp of gemv.cu takes at a time
_GEMV_THREADS, _GEMV_BLOCKS = 512, 2
_GEMV_TOKENS = {1: 4, 2: 2}  # parts -> up to how many tokens gemv.cu is the faster one


def num_parts(tokens: int, k: int, rows: int, device: torch.device) -> int:
    """Addends that a split product leaves."""
    splits = slab.num_splits(tokens, k, rows, device)
    if splits is not None:
        return splits
    return 1 if tokens > FEW_TOKENS else split_parts(rows, device)


def project(x: torch.Tensor, weights: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    """Products with matrices that lie one below the other, as torch.nn.functional.linear.

    Args:
        x: bfloat16 (tokens, k), k a multiple of 32. Where a device holds all rows
            (slab.py), or where there are very many (stream.py), up to 32 tokens; elsewhere more than
            FEW_TOKENS go to the vendor's product.
        weights: One to three bfloat16 (rows, k); rows of all but the last a multiple of 16.
        out: float32 (parts, tokens, all rows), all of it written. With one part it is the product;
            otherwise parts must be `num_parts`, and the product is their sum.
    """
    tokens, k = x.shape
    parts, rows = out.shape[0], sum(len(weight) for weight in weights)
    assert k % _STEP == 0, k
    assert out.shape == (parts, tokens, rows), (x.shape, out.shape)
    assert all(weight.shape[1] == k and weight.dtype is torch.bfloat16 for weight in weights)
    assert parts in (1, num_parts(tokens, k, rows, x.device)), parts
    if parts == slab.num_splits(tokens, k, rows, x.device):
        slab.project_slab(x, weights, out)
        return
    if len(weights) == parts == 1 and stream.fits(tokens, k, rows, x.device):
        stream.project_stream(x, weights[0], out[0])
        return
    if tokens > FEW_TOKENS:
        _project_many(x, weights, out[0])
        return
    product = Product("dense", x.device)
    tiles, units = -(-rows // TILE_ROWS), -(-k // (2 * _STEP))
    blocks, held = min(product.blocks, tiles), units
    if parts > 1:
        blocks = product.split_blocks(rows)
        held = min(units, -(-tiles * units // blocks))
    ends = [-(-sum(map(len, weights[: i + 1])) // TILE_ROWS) for i in range(3)]
    pointers = [address(weights[min(i, len(weights) - 1)]) for i in range(3)]
    arguments = Dense(
        w=tuple(pointers), x=address(x), y=address(out), tile_end=tuple(ends), rows=rows,
        steps=k // _STEP, tokens=tokens, parts=parts,
    )  # fmt: skip
    in_pieces = parts == 1 or -(-k // (8 * parts)) * 8 <= _PIECE
    if tokens <= _GEMV_TOKENS.get(parts, 0) and in_pieces:
        _launch_gemv(arguments, tokens, k, x.device)
    else:
        product.launch(blocks, _UNIT_BYTES, held * tokens * _OPERAND_BYTES, arguments)


def _project_many(x: torch.Tensor, weights: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    if len(weights) > 1 and _adjacent(weights):
        rows, k = out.shape[1], x.shape[1]
        weights = [weights[0].as_strided((rows, k), (k, 1))]
    parts = out.split([len(weight) for weight in weights], dim=1)
    for weight, part in zip(weights, parts, strict=True):
        torch.mm(x, weight.t(), out_dtype=torch.float32, out=part)


def _adjacent(weights: Sequence[torch.Tensor]) -> bool:
    """Whether matrices lie one behind the other in one storage."""
    storages = {weight.untyped_storage().data_ptr() for weight in weights}
    places = [(weight.data_ptr(), weight.nbytes) for weight in weights]
    return len(storages) == 1 and all(
        begin + size == following for (begin, size), (following, _) in pairwise(places)
    )


def _launch_gemv(arguments: ctypes.Structure, tokens: int, k: int, device: torch.device) -> None:
    """Few tokens need no tensor cores, and rows in pieces keep more loads on their way."""
    columns = tokens if tokens <= 2 else 4
    kernel = program("gemv.cu", device)[f"gemv_{columns}"]
    blocks = multiprocessors(device) * _GEMV_BLOCKS
    launch(kernel, (blocks, 1, 1), _GEMV_THREADS, columns * k * 2, arguments)

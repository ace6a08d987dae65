"""A matrix in e4m3 times one to four tokens, in CUDA."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Fp8, address
from ossia.kernels.decode.launching import multiprocessors
from ossia.kernels.fp8.format import Fp8Matrix

MAX_TOKENS = 4
_CHUNK = 16  # k of a load
_THREADS, _ROWS = 512, 2  # of a block of fp8.cu; of a warp


def multiply(x: torch.Tensor, matrix: Fp8Matrix, out: torch.Tensor) -> None:
    """As `reference.linear` without a bias; allocates nothing.

    Args:
        x: bfloat16 (tokens, columns), contiguous, at most MAX_TOKENS.
        matrix: On x's device.
        out: float32 (tokens, rows), contiguous, all of it written.
    """
    tokens, rows, columns = len(x), matrix.rows, matrix.columns
    assert 0 < tokens <= MAX_TOKENS, tokens
    assert x.shape[1] == columns, (x.shape, columns)
    assert out.shape == (tokens, rows), (out.shape, tokens, rows)
    assert x.dtype is torch.bfloat16, x.dtype
    assert out.dtype is torch.float32, out.dtype
    arguments = Fp8(
        w=address(matrix.codes), scales=address(matrix.scales), x=address(x), y=address(out),
        rows=rows, chunks=columns // _CHUNK, tokens=tokens,
    )  # fmt: skip
    columns_of = tokens if tokens <= 2 else 4
    kernel = program("fp8.cu", x.device)[f"fp8_{columns_of}"]
    blocks = min(multiprocessors(x.device), -(-rows // _ROWS))
    launch(kernel, (blocks, 1, 1), _THREADS, columns_of * columns * 2, arguments)

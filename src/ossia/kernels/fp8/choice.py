"""linear and multiply: the fastest implementation that takes these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

from ossia.kernels.backend import choose
from ossia.kernels.fp8 import reference
from ossia.kernels.fp8.format import Fp8Matrix, dequantize

FEW_TOKENS = 4
"""What CUDA's kernel takes where it runs; more go to Triton's."""
PACKED_TOKENS = 512
"""Up to which a product's time goes into reading weights, or nearly so; for more, weights are widened first."""
_ROWS_AT_ONCE = 1 << 14  # of a matrix that is widened for more tokens


def linear(x: torch.Tensor, matrix: Fp8Matrix, bias: torch.Tensor | None) -> torch.Tensor:
    """As `reference.linear` defines it; for more than 512 tokens weights are rounded to bfloat16."""
    if (
        torch.compiler.is_compiling()
        or torch.is_grad_enabled()
        or not x.is_cuda
        or x.dtype is not torch.bfloat16
        or x.dim() != 2
        or len(x) == 0
        or (bias is not None and bias.dtype is not torch.bfloat16)
        or type(x) is not torch.Tensor
        or _chosen(x.device) == "reference"
    ):
        return reference.linear(x, matrix, bias)
    x = x.contiguous()
    if len(x) > PACKED_TOKENS:
        return _widened(x, matrix, bias)
    from ossia.kernels.fp8 import triton_many

    with torch.cuda.device_of(x):  # Triton launches on the current device
        if len(x) <= FEW_TOKENS and _chosen(x.device) == "cuda":
            sums = torch.empty(len(x), matrix.rows, dtype=torch.float32, device=x.device)
            multiply(x, matrix, sums)
            return (sums if bias is None else sums + bias).to(x.dtype)
        out = torch.empty(len(x), matrix.rows, dtype=x.dtype, device=x.device)
        triton_many.multiply(x, matrix, out, bias)
    return out


def multiply(x: torch.Tensor, matrix: Fp8Matrix, out: torch.Tensor) -> None:
    """The product without a bias, into a tensor: nothing is allocated, so that graphs may hold it.

    Args:
        x: bfloat16 (tokens, columns), contiguous, on the current device, a CUDA one.
        matrix: There, too.
        out: float32 (tokens, rows), contiguous, all of it written.
    """
    if len(x) <= FEW_TOKENS and _chosen(x.device) == "cuda":
        from ossia.kernels.fp8 import cuda_few

        cuda_few.multiply(x, matrix, out)
    else:
        from ossia.kernels.fp8 import triton_many

        triton_many.multiply(x, matrix, out)


def _widened(x: torch.Tensor, matrix: Fp8Matrix, bias: torch.Tensor | None) -> torch.Tensor:
    """By the vendor's product, some rows of the matrix after the others."""
    out = torch.empty(len(x), matrix.rows, dtype=x.dtype, device=x.device)
    for first in range(0, matrix.rows, _ROWS_AT_ONCE):
        end = min(first + _ROWS_AT_ONCE, matrix.rows)
        weight = dequantize(matrix.part(first, end), x.dtype)
        out[:, first:end] = F.linear(x, weight, None if bias is None else bias[first:end])
    return out


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("fp8", device).chosen.name

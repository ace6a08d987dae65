"""Linear layers of bfloat16 and of 8 bits by the CPU kernels."""

from __future__ import annotations

import ctypes

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.calls import LinearCall
from ossia.kernels.int8 import Int8Matrix


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """As `reference.linear`, rounded once, after the bias; no gradients.

    Args:
        x: (tokens, columns), bfloat16, on the CPU.
        weight: bfloat16 (rows, columns), contiguous.
        bias: bfloat16 (rows,), contiguous, or None.

    Returns:
        bfloat16 (tokens, rows). What a row gets does not depend on the other rows.

    Raises:
        KernelError: memory is out.
    """
    rows, columns = weight.shape
    return _run(x, bias, rows, columns, weight=weight.data_ptr())


def linear_int8(
    x: torch.Tensor, weight: Int8Matrix, bias: torch.Tensor | None, *, int8_activations: bool
) -> torch.Tensor:
    """As `reference.linear_int8`, rounded once, after the bias; no gradients.

    Args:
        x: (tokens, columns), bfloat16, on the CPU.
        weight: Of 8 bits, contiguous.
        bias: bfloat16 (rows,), contiguous, or None.
        int8_activations: Round x to 8 bits, with a scale for each 32 values. Otherwise it goes as the
            sum of two such roundings, off by 1/64,000 of the largest of the 32 at most.

    Returns:
        bfloat16 (tokens, rows). What a row gets does not depend on the other rows.

    Raises:
        KernelError: memory is out.
    """
    return _run(
        x, bias, weight.rows, weight.columns,
        weight=weight.codes.data_ptr(), scales=weight.scales.data_ptr(),
        activations=int(int8_activations),
    )  # fmt: skip


def _run(
    x: torch.Tensor, bias: torch.Tensor | None, rows: int, columns: int, **matrix: int
) -> torch.Tensor:
    kernels = load()
    assert kernels is not None
    x = x.contiguous()
    out = torch.empty(len(x), rows, dtype=torch.bfloat16)
    call = LinearCall(
        bias=None if bias is None else bias.data_ptr(), x=x.data_ptr(), out=out.data_ptr(),
        tokens=len(x), rows=rows, columns=columns, threads=num_threads(), **matrix,
    )  # fmt: skip
    kernels.call("ossia_run_linear", ctypes.byref(call))
    return out

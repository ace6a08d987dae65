"""Linear layers of bfloat16 by the CPU kernels."""

from __future__ import annotations

import ctypes

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.kernel_library import LinearCall


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
    kernels = load()
    assert kernels is not None
    x = x.contiguous()
    out = torch.empty(len(x), len(weight), dtype=torch.bfloat16)
    call = LinearCall(
        weight=weight.data_ptr(), bias=None if bias is None else bias.data_ptr(),
        x=x.data_ptr(), out=out.data_ptr(),
        tokens=len(x), rows=len(weight), columns=x.shape[1], threads=num_threads(),
    )  # fmt: skip
    kernels.call("ossia_run_linear", ctypes.byref(call))
    return out

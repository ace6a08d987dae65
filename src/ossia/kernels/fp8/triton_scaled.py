"""Rounding rows to e4m3 with a scale each, in Triton: a program a row, which is read once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ossia.kernels.fp8.format import LARGEST
from ossia.kernels.fp8.scaled import LEAST, ScaledFp8

_LEAST, _LARGEST = tl.constexpr(LEAST), tl.constexpr(LARGEST)
_FINITE = tl.constexpr(torch.finfo(torch.float32).max)


def round_rows(x: torch.Tensor, *, powers: bool = False) -> ScaledFp8:
    """As `scaled.round_rows`, of a contiguous (rows, columns), on the current device."""
    rows, columns = x.shape
    rounded = room_for(rows, columns, x.device)
    _round_kernel[(rows,)](
        x, *rounded, COLUMNS=columns, UP=triton.next_power_of_2(columns), POWERS=powers, num_warps=4
    )  # fmt: skip
    return rounded


def room_for(rows: int, columns: int, device: torch.device) -> ScaledFp8:
    """Uninitialised."""
    codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn, device=device)
    return ScaledFp8(codes, torch.empty(rows, dtype=torch.float32, device=device))


@triton.jit
def store_rounded(
    x, codes_ptr, scales_ptr, row, COLUMNS: tl.constexpr, UP: tl.constexpr, POWERS: tl.constexpr
) -> None:
    """A row in float32, zeros from COLUMNS on."""
    column = tl.arange(0, UP)
    largest = tl.max(tl.abs(x), 0)
    scale = tl.where(largest > _LEAST, largest, _LEAST) / _LARGEST
    if POWERS:
        bits = (scale.to(tl.int32, bitcast=True) + 0x7FFFFF) & 0x7F800000
        scale = bits.to(tl.float32, bitcast=True)
    finite = tl.abs(x) <= _FINITE  # and no NaN, which a maximum may hide
    scale = tl.where(tl.min(finite.to(tl.int32), 0) == 1, scale, float("nan"))
    x = x / scale
    x = tl.where(x > _LARGEST, _LARGEST, tl.where(x < -_LARGEST, -_LARGEST, x))
    tl.store(codes_ptr + row * COLUMNS + column, x.to(tl.float8e4nv), mask=column < COLUMNS)
    tl.store(scales_ptr + row, scale)


@triton.jit
def _round_kernel(
    x_ptr, codes_ptr, scales_ptr, COLUMNS: tl.constexpr, UP: tl.constexpr, POWERS: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, UP)
    x = tl.load(x_ptr + row * COLUMNS + column, mask=column < COLUMNS, other=0.0).to(tl.float32)
    store_rounded(x, codes_ptr, scales_ptr, row, COLUMNS, UP, POWERS)

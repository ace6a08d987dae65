"""Fp8Matrix: weights in e4m3, with a float32 scale for each row.

e4m3 has a sign, 4 bits of exponent and 3 of mantissa (Micikevicius et al. 2022, arXiv:2209.05433). Of each 32
columns of a row the first 16 lie at even places and the others at odd ones. So 16 bits hold two codes
whose columns lie 16 apart, and kernels make of neighbouring pairs the neighbouring columns of two
operands, with few instructions and nothing that crosses lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

GROUP = 32
LARGEST = 448.0
"""Of e4m3."""
_ROWS_AT_ONCE = 1 << 14  # what is done in float32 shall not take more than a little memory
_LEAST_SCALE = 2.0**-117  # with which the least code is a normal float32


class Fp8Matrix(NamedTuple):
    """A matrix of logical shape (rows, columns).

    Args:
        codes: float8_e4m3fn (rows, columns), contiguous, columns in pairs as above.
        scales: float32 (rows,).
    """

    codes: torch.Tensor
    scales: torch.Tensor

    @property
    def rows(self) -> int:
        """Output features."""
        return self.codes.shape[0]

    @property
    def columns(self) -> int:
        """Input features."""
        return self.codes.shape[1]

    def part(self, first: int, end: int) -> Fp8Matrix:
        """Some of its rows, sharing memory."""
        return Fp8Matrix(self.codes[first:end], self.scales[first:end])


def adjoining(parts: Sequence[Fp8Matrix]) -> Fp8Matrix:
    """The matrix of which these are the parts, one behind the other, sharing memory."""
    first, rows, columns = parts[0], sum(part.rows for part in parts), parts[0].columns
    if len(parts) == 1:
        return first
    end = first.codes.data_ptr()
    for codes, _ in parts:
        assert codes.data_ptr() == end, "they do not lie one behind the other"
        end += codes.nbytes
    codes = first.codes.as_strided((rows, columns), (columns, 1))
    return Fp8Matrix(codes, first.scales.as_strided((rows,), (1,)))


def quantize(weight: torch.Tensor) -> Fp8Matrix:
    """Round a matrix to e4m3, to nearest, ties to even.

    A row's scale is its largest magnitude over 448, so that each weight that is at least 2^-6 of the scale
    is off by a sixteenth of itself at most. A row that is not finite gets the scale NaN.

    Args:
        weight: Floats (rows, columns); columns is a multiple of 32.

    Returns:
        On the same device.
    """
    rows, columns = weight.shape
    assert columns % GROUP == 0, columns
    codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn, device=weight.device)
    scales = torch.empty(rows, dtype=torch.float32, device=weight.device)
    for first in range(0, rows, _ROWS_AT_ONCE):
        some = slice(first, first + _ROWS_AT_ONCE)
        wide = weight[some].float()
        peak = wide.abs().amax(dim=1)
        scale = (peak / LARGEST).clamp(min=_LEAST_SCALE).where(peak > 0, 1.0)
        scales[some] = scale.where(peak.isfinite(), torch.nan)
        rounded = (wide / scale[:, None]).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
        codes[some] = _paired(rounded)
    return Fp8Matrix(codes, scales)


def dequantize(matrix: Fp8Matrix, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The weights that a matrix stands for: (rows, columns), rounded once to a float dtype."""
    rows, columns = matrix.rows, matrix.columns
    # (rows, groups, 16, 2) to (rows, groups, 2, 16); torch moves no 8-bit floats about, but bytes
    halves = matrix.codes.view(torch.uint8).view(rows, -1, GROUP // 2, 2).transpose(2, 3)
    codes = halves.reshape(rows, columns).view(torch.float8_e4m3fn)
    return (codes.float() * matrix.scales[:, None]).to(dtype)


def _paired(codes: torch.Tensor) -> torch.Tensor:
    """Columns in the order in which they are kept."""
    halves = codes.view(torch.uint8).unflatten(1, (-1, 2, GROUP // 2))
    return halves.transpose(2, 3).reshape(codes.shape).view(torch.float8_e4m3fn)

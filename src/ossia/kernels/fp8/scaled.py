"""ScaledFp8: both sides of a product in e4m3, with a float32 scale for each row, for the tensor cores' fp8 rate.

A row's scale is its largest magnitude over 448, so a number is off by a sixteenth of itself at most, or by 2^-10 / 448 of
the largest of its row. Sums are those of the hardware: on Hopper it keeps 14 bits or so of a partial
sum, which is less than the rounding of what enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ossia.kernels.fp8.format import LARGEST
from ossia.kernels.fp8.rows import FP8

MANY_TOKENS = 4096
"""From which on products of both sides in e4m3 are used: a layer of gpt-oss-20b gains with 8,192 tokens, and loses with 2,048."""
LEAST = 2.0**-100
"""What a row's largest magnitude counts as at least."""


class ScaledFp8(NamedTuple):
    """Rows in e4m3, of logical shape (..., rows, columns).

    Args:
        codes: float8_e4m3fn, contiguous.
        scales: float32 (..., rows): what codes are multiplied with.
    """

    codes: torch.Tensor
    scales: torch.Tensor

    def rows(self, idx: torch.Tensor) -> ScaledFp8:
        """Of a matrix, the rows of these numbers, int64 (count,)."""
        # Bytes, since torch gathers no e4m3.
        return ScaledFp8(self.codes.view(torch.uint8)[idx].view(FP8), self.scales[idx])


def stacked(parts: Sequence[ScaledFp8]) -> ScaledFp8:
    """Matrices of one shape as one of (parts, rows, columns)."""
    codes = torch.stack([part.codes.view(torch.uint8) for part in parts]).view(FP8)
    return ScaledFp8(codes, torch.stack([part.scales for part in parts]))


def round_rows(x: torch.Tensor, *, powers: bool = False) -> ScaledFp8:
    """Round each row; on a CUDA device in one kernel.

    Args:
        x: Floats (..., rows, columns). A row with NaN or infinity becomes NaN.
        powers: Whether scales are powers of two, the next ones above: what has few bits, and whose numbers are not too far
            apart, then stays as it is.
    """
    if x.is_cuda and x.dim() == 2 and not torch.compiler.is_compiling():
        from ossia.kernels.fp8 import triton_scaled

        with torch.cuda.device_of(x):
            return triton_scaled.round_rows(x.contiguous(), powers=powers)
    wide = x.float()
    scales = wide.abs().amax(-1).clamp(min=LEAST) / LARGEST
    if powers:  # one added to the exponent wherever there is a fraction
        scales = (scales.view(torch.int32) + 0x7FFFFF & 0x7F800000).view(torch.float32)
        scales = scales.where(wide.isfinite().all(-1), torch.nan)
    # A quotient can come to more than 448 by its rounding.
    codes = (wide / scales[..., None]).clamp(-LARGEST, LARGEST).to(FP8)
    return ScaledFp8(codes, scales)


def widened(rounded: ScaledFp8) -> torch.Tensor:
    """The numbers, float32."""
    return rounded.codes.float() * rounded.scales[..., None]


def scaled_product(x: ScaledFp8, weight: ScaledFp8) -> torch.Tensor:
    """Rows times the transposed matrix, bfloat16 (tokens, rows).

    Args:
        x: (tokens, columns); columns, and the matrix's rows, multiples of 16.
        weight: (rows, columns).
    """
    if not x.codes.is_cuda:
        return (widened(x) @ widened(weight).T).bfloat16()
    by_row = F.ScalingType.RowWise
    return F.scaled_mm(
        x.codes, weight.codes.t(), x.scales[:, None], by_row, weight.scales[None], by_row,
        output_dtype=torch.bfloat16, use_fast_accum=True,
    )  # fmt: skip


def takes(x: torch.Tensor) -> bool:
    """Whether inputs (tokens, columns) are so many that products of rounded rows are worth it; without gradients."""
    return x.dim() == 2 and len(x) >= MANY_TOKENS and not torch.is_grad_enabled()


def linear_rounded(x: torch.Tensor, weight: ScaledFp8, bias: torch.Tensor | None) -> torch.Tensor:
    """As torch.nn.functional.linear, both sides rounded: x (tokens, columns) to (tokens, rows) of its dtype."""
    out = scaled_product(round_rows(x), weight).to(x.dtype)
    return out if bias is None else out.add_(bias)


def grouped_product(x: ScaledFp8, weights: ScaledFp8, ends: torch.Tensor) -> torch.Tensor:
    """Each group of rows times its own transposed matrix, bfloat16 (tokens, rows).

    Args:
        x: (tokens, columns), group by group; columns, and the matrices' rows, multiples of 16.
        weights: (groups, rows, columns).
        ends: int32 (groups,): the place behind each group's last row.
    """
    if not x.codes.is_cuda:
        out = x.scales.new_empty(len(x.codes), weights.codes.shape[1], dtype=torch.bfloat16)
        first = 0
        for group, end in enumerate(ends.tolist()):
            some = ScaledFp8(x.codes[first:end], x.scales[first:end])
            matrix = ScaledFp8(weights.codes[group], weights.scales[group])
            out[first:end], first = scaled_product(some, matrix), end
        return out
    by_row = F.ScalingType.RowWise
    return F.scaled_grouped_mm(  # pyright: ignore[reportAttributeAccessIssue]
        x.codes, weights.codes.transpose(1, 2), x.scales, by_row, weights.scales, by_row, offs=ends,
        output_dtype=torch.bfloat16, use_fast_accum=True,
    )  # fmt: skip

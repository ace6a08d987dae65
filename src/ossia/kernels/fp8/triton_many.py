"""A matrix in e4m3 times any number of tokens, in Triton: codes become bfloat16 in registers, exactly.

The matrix is the side of the product that comes from registers, so that nothing is written twice; tokens
are the other one. Each sum is added up in one program in the order of k, whatever the other tokens are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from ossia.kernels.fp8.format import Fp8Matrix

# A code in the place of a bfloat16's exponent means its value times 2^-120. Even bytes make the first
# result, odd ones the second; times 2^120 is exact, and adding -0 changes nothing.
_WIDEN = tl.constexpr("""
{
.reg .b32 even, odd, sign, large, none;
mov.b32 large, 0x7b807b80;
mov.b32 none, 0x80008000;
shl.b32 even, $2, 4;
shl.b32 sign, $2, 8;
and.b32 sign, sign, 0x80008000;
lop3.b32 even, even, 0x07f007f0, sign, 0xea;
fma.rn.bf16x2 $0, even, large, none;
shr.u32 odd, $2, 4;
and.b32 sign, $2, 0x80008000;
lop3.b32 odd, odd, 0x07f007f0, sign, 0xea;
fma.rn.bf16x2 $1, odd, large, none;
}
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How a launch is cut.

    Args:
        tokens: Of a program.
        rows: Of a program.
        depth: Columns that are taken at once, a multiple of 32.
        warps: Of a program.
        stages: Loads in flight.
    """

    tokens: int
    rows: int
    depth: int
    warps: int
    stages: int


def tiling_for(tokens: int, rows: int, multiprocessors: int) -> Tiling:
    """What suits a product: few enough rows that every multiprocessor has some."""
    if tokens > 64:
        return Tiling(tokens=128, rows=128, depth=128, warps=8, stages=3)
    columns = max(16, triton.next_power_of_2(tokens))
    if rows >= 2 * 128 * multiprocessors:
        return Tiling(tokens=columns, rows=128, depth=128, warps=4, stages=4)
    return Tiling(tokens=columns, rows=64, depth=128, warps=4, stages=4)


def multiply(
    x: torch.Tensor,
    matrix: Fp8Matrix,
    out: torch.Tensor,
    bias: torch.Tensor | None = None,
    tiling: Tiling | None = None,
) -> None:
    """As `reference.linear`; allocates nothing.

    Args:
        x: bfloat16 (tokens, columns), contiguous.
        matrix: On x's device, which must be the current one.
        out: (tokens, rows), float32 or bfloat16, contiguous, all of it written.
        bias: bfloat16 (rows,) or None.
        tiling: None takes what suits.
    """
    tokens, rows, columns = len(x), matrix.rows, matrix.columns
    assert x.shape[1] == columns, (x.shape, columns)
    assert out.shape == (tokens, rows), (out.shape, tokens, rows)
    assert x.dtype is torch.bfloat16, x.dtype
    assert x.is_contiguous()
    assert out.is_contiguous()
    tiling = tiling or tiling_for(tokens, rows, _multiprocessors(x.device))
    grid = (triton.cdiv(tokens, tiling.tokens), triton.cdiv(rows, tiling.rows))
    _product[grid](
        x, matrix.codes.view(torch.int16), matrix.scales, bias, out, tokens, rows, columns,
        BIASED=bias is not None,
        TOKENS_UP=tiling.tokens, ROWS_UP=tiling.rows, DEPTH=tiling.depth,
        INTERPRETED=bool(triton.knobs.runtime.interpret),
        num_warps=tiling.warps, num_stages=tiling.stages,
    )  # fmt: skip


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":  # in the interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit
def _value(code):
    """What a code stands for, in float32."""
    exponent, mantissa = (code >> 3) & 15, (code & 7).to(tl.float32)
    normal = (8.0 + mantissa) * tl.exp2(exponent.to(tl.float32) - 10.0)
    magnitude = tl.where(exponent == 0, mantissa * 0.001953125, normal)  # 2^-9
    return tl.where((code & 128) != 0, -magnitude, magnitude)


@triton.jit(do_not_specialize=["tokens"])
def _product(
    x, codes, scales, bias, out, tokens, rows, columns,
    BIASED: tl.constexpr, TOKENS_UP: tl.constexpr, ROWS_UP: tl.constexpr, DEPTH: tl.constexpr,
    INTERPRETED: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0) * TOKENS_UP + tl.arange(0, TOKENS_UP)
    row = tl.program_id(1) * ROWS_UP + tl.arange(0, ROWS_UP)
    # What lies beyond the last repeats it, and is not stored.
    at_token, at_row = tl.minimum(token, tokens - 1), tl.minimum(row, rows - 1)
    pair = tl.arange(0, DEPTH // 2)
    pairs = codes + at_row.to(tl.int64)[:, None] * (columns // 2) + pair[None, :]
    column = pair // 16 * 32 + pair % 16
    operands = x + at_token[None, :] * columns + column[:, None]
    acc = tl.zeros((ROWS_UP, TOKENS_UP), tl.float32)
    for start in range(0, columns, DEPTH):
        inside = pair < (columns - start) // 2
        both = tl.load(pairs + start // 2, mask=inside[None, :], other=0)
        x_even = tl.load(operands + start, mask=inside[:, None], other=0.0)
        x_odd = tl.load(operands + start + 16, mask=inside[:, None], other=0.0)
        if INTERPRETED:
            wide = both.to(tl.int32)
            acc = tl.dot(_value(wide & 255), x_even.to(tl.float32), acc)
            acc = tl.dot(_value((wide >> 8) & 255), x_odd.to(tl.float32), acc)
        else:
            even, odd = tl.inline_asm_elementwise(
                _WIDEN, "=r,=r,r", [both], (tl.bfloat16, tl.bfloat16), is_pure=True, pack=2
            )
            acc = tl.dot(even, x_even, acc)
            acc = tl.dot(odd, x_odd, acc)
    acc *= tl.load(scales + at_row)[:, None]
    if BIASED:
        acc += tl.load(bias + at_row).to(tl.float32)[:, None]
    tl.store(
        out + token.to(tl.int64)[None, :] * rows + row[:, None], acc.to(out.dtype.element_ty),
        mask=(token < tokens)[None, :] & (row < rows)[:, None],
    )  # fmt: skip

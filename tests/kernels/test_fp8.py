"""Matrices in 8-bit floats: how they are rounded, and products with them, on a GPU and in the interpreter."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.kernels import fp8
from ossia.kernels.fp8 import GROUP, Fp8Matrix, dequantize, quantize, reference
from support.tolerances import TOLERANCE, assert_near
from support.triton_interpreter import allow_loaded_bounds, run_interpreted

DEVICE = torch.device("cuda", 0)
shapes = st.tuples(st.integers(1, 40), st.integers(1, 5))  # rows, groups
SIZES = ((2880, 40_003), (4096, 2880), (64, 1000), (96, 7), (32, 1), (3200, 129))  # k, rows
TOKENS = (*range(1, 18), 31, 33, 64, 65, 100, 128, 129, 257, 512)


def some_codes(rows: int, columns: int, device: str = "cpu") -> Fp8Matrix:
    """Every code that stands for a number, and scales of all sizes."""
    codes = torch.randint(0, 256, (rows, columns), dtype=torch.uint8)
    codes[(codes & 127) == 127] = 1  # no NaN, but the least number
    scales = torch.rand(rows) * 2.0 ** torch.randint(-12, 3, (rows,))
    return Fp8Matrix(codes.view(torch.float8_e4m3fn).to(device), scales.to(device))


@settings(max_examples=25)
@given(
    shape=shapes, size=st.sampled_from([1e-37, 1e-6, 1.0, 1e6, 1e36]), seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
)  # fmt: skip
def test_each_weight_keeps_four_bits(shape, size, seed, dtype):
    torch.manual_seed(seed)
    weight = (torch.randn(shape[0], shape[1] * GROUP) * size).to(dtype)
    weight[seed % len(weight)] = 0
    matrix = quantize(weight)
    assert (matrix.rows, matrix.columns) == weight.shape
    assert matrix.codes.dtype is torch.float8_e4m3fn
    wide = dequantize(matrix).double()
    error, step = (wide - weight.double()).abs(), matrix.scales.double()[:, None]
    least = step * 2.0**-10 * (1 + 1e-6)  # half a step of the least numbers
    assert (error <= torch.maximum(weight.double().abs() / 16 * (1 + 1e-6), least)).all()
    assert (wide[seed % len(weight)] == 0).all()
    peaks = weight.double().abs().amax(1)
    assert_near(wide.abs().amax(1).float(), peaks)  # the largest is kept
    again = quantize(dequantize(matrix))
    assert torch.equal(dequantize(again), dequantize(matrix)), "rounding twice changes something"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_spoils_its_row_only(bad):
    weight = torch.ones(5, 2 * GROUP)
    weight[3, 40] = bad
    wide = dequantize(quantize(weight))
    assert wide[3].isnan().all()
    assert (wide[[0, 1, 2, 4]] == 1).all()


def test_columns_lie_in_pairs_sixteen_apart():
    weight = (
        torch.arange(1.0, 2 * GROUP + 1)[None]
        * 2.0 ** torch.arange(-40, 24, dtype=torch.float32).div(8).floor()
    )
    kept = quantize(weight).codes.view(torch.uint8)[0]
    plain = (weight / quantize(weight).scales[:, None]).to(torch.float8_e4m3fn).view(torch.uint8)[0]
    order = [first + half for first in (*range(16), *range(32, 48)) for half in (0, 16)]
    assert torch.equal(kept, plain[order])


def test_a_large_matrix_is_rounded_in_slices():
    weight = torch.randn(2 * 16_384 + 3, GROUP)
    whole, tail = quantize(weight), quantize(weight[-5:])
    assert torch.equal(whole.codes[-5:].view(torch.uint8), tail.codes.view(torch.uint8))
    assert torch.equal(whole.scales[-5:], tail.scales)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_elsewhere_torch_multiplies(dtype):
    matrix = some_codes(21, 96)
    x = torch.randn(3, 96, dtype=dtype, requires_grad=True)
    bias = torch.randn(21, dtype=dtype)
    out = fp8.linear(x, matrix, bias)
    assert out.dtype is dtype
    expected = x.detach().double() @ dequantize(matrix).double().T + bias.double()
    assert_near(out.detach(), expected)
    out.sum().backward()
    assert x.grad is not None
    assert_near(x.grad, dequantize(matrix).double().sum(0).expand(3, -1))


def check_triton(
    tokens: int, columns: int, rows: int, device: str, tiling: dict[str, int] | None = None
) -> None:
    from ossia.kernels.fp8 import triton_many

    matrix = some_codes(rows, columns, device)
    kind = {"dtype": torch.bfloat16, "device": device}
    x, bias = torch.randn(tokens, columns, **kind), torch.randn(rows, **kind)
    chosen = None if tiling is None else triton_many.Tiling(**tiling)
    exact = reference.linear(x.double(), matrix, None)

    def run(given: torch.Tensor = x) -> torch.Tensor:
        out = torch.full((tokens, rows), torch.nan, device=device)
        triton_many.multiply(given, matrix, out, tiling=chosen)
        return out

    _check(run, x, exact)
    rounded = torch.full((tokens, rows), torch.nan, **kind)
    triton_many.multiply(x, matrix, rounded, bias, chosen)
    assert_near(rounded, reference.linear(x.double(), matrix, bias.double()))


def _check(run: Callable[..., torch.Tensor], x: torch.Tensor, exact: torch.Tensor) -> None:
    """All is written, near, the same again, and no token's business what the others are."""
    actual = run()
    assert_near(actual, exact)
    assert torch.equal(run(), actual), "two runs differ"
    token = len(x) // 2
    others = torch.full_like(x, torch.nan)
    others[token] = x[token]
    assert torch.equal(run(others)[token], actual[token]), "the other tokens play a part"


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.mark.parametrize("tokens", range(1, 5))
    @pytest.mark.parametrize(("columns", "rows"), SIZES)
    def test_few_tokens(self, tokens, columns, rows):
        from ossia.kernels.fp8 import cuda_few

        matrix = some_codes(rows, columns, "cuda")
        x = torch.randn(tokens, columns, dtype=torch.bfloat16, device=DEVICE)

        def run(given: torch.Tensor = x) -> torch.Tensor:
            out = torch.full((tokens, rows), torch.nan, device=DEVICE)
            cuda_few.multiply(given, matrix, out)
            return out

        _check(run, x, reference.linear(x.double(), matrix, None))
        alone = torch.full((1, rows), torch.nan, device=DEVICE)
        cuda_few.multiply(x[-1:], matrix, alone)
        assert torch.equal(alone[0], run()[-1]), "a token alone gets other bits"

    @pytest.mark.parametrize("tokens", TOKENS)
    @pytest.mark.parametrize(("columns", "rows"), SIZES)
    def test_many_tokens(self, tokens, columns, rows):
        check_triton(tokens, columns, rows, "cuda")

    def test_a_whole_vocabulary(self):
        matrix = quantize(torch.randn(201_088, 2880, dtype=torch.bfloat16, device=DEVICE) / 50)
        for tokens in (1, 4, 8, 64, 512):
            x = torch.randn(tokens, 2880, dtype=torch.bfloat16, device=DEVICE)
            out = torch.full((tokens, 201_088), torch.nan, device=DEVICE)
            fp8.multiply(x, matrix, out)
            for first in (0, 100_000, 201_088 - 4000):
                part = matrix.part(first, first + 4000)
                assert_near(out[:, first : first + 4000], reference.linear(x.double(), part, None))
            del out

    @pytest.mark.parametrize("tokens", [1, 3, 7, 130, 600])
    @torch.inference_mode()
    def test_as_a_layer(self, tokens):
        matrix = some_codes(20_000, 96, "cuda")
        x = torch.randn(tokens, 96, dtype=torch.bfloat16, device=DEVICE)
        bias = torch.randn(20_000, dtype=torch.bfloat16, device=DEVICE)
        for shift in (None, bias):
            out = fp8.linear(x, matrix, shift)
            assert out.dtype is torch.bfloat16
            wide = None if shift is None else shift.double()
            expected = reference.linear(x.double(), matrix, wide)
            assert_near(out, expected)
            error = (out.double() - expected).norm() / expected.norm()
            assert error < TOLERANCE[torch.bfloat16] / 4


def test_in_the_interpreter():
    pytest.importorskip("triton")
    run_interpreted(__file__)


def _interpreted() -> None:
    allow_loaded_bounds()
    torch.manual_seed(0)
    for tokens, columns, rows in ((1, 96, 70), (5, 160, 130), (17, 32, 1), (70, 288, 65)):
        check_triton(tokens, columns, rows, "cpu")
        small = {"tokens": 16, "rows": 32, "depth": 64, "warps": 4, "stages": 2}
        check_triton(tokens, columns, rows, "cpu", small)


if __name__ == "__main__":
    _interpreted()

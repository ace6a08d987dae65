"""Products with both sides in 8-bit floats: how rows are rounded, and experts; in the interpreter and on a GPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ossia.kernels.fp8.format import LARGEST
from ossia.kernels.fp8.scaled import (
    ScaledFp8,
    grouped_product,
    linear_rounded,
    round_rows,
    stacked,
    widened,
)
from ossia.kernels.moe import reference
from ossia.kernels.moe.reference import ExpertWeights, clamped_swiglu
from ossia.kernels.moe.rounded import RoundedExperts, run_rounded
from ossia.kernels.mxfp4 import unpack
from support.triton_interpreter import convert_fp8_as_devices_do, run_interpreted

CPU = torch.device("cpu")


def _distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, NaN where anything was left unwritten."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


@given(
    size=st.sampled_from([1e-25, 1e-3, 1.0, 1e4, 1e30]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_numbers_are_off_by_a_sixteenth_or_a_little_of_their_row_s_largest(size, dtype, seed):
    torch.manual_seed(seed)
    x = (torch.randn(3, 5, 48) * size).to(dtype)
    rounded = round_rows(x)
    assert rounded.codes.dtype is torch.float8_e4m3fn
    assert rounded.scales.shape == (3, 5)
    largest = x.double().abs().amax(-1, keepdim=True)
    bound = torch.maximum(x.double().abs() / 16, largest * 2**-10 / LARGEST) * (1 + 1e-6)
    assert ((widened(rounded).double() - x.double()).abs() <= bound).all()
    assert (rounded.codes.float().abs().amax(-1) == LARGEST).all(), "all of the range is used"


def test_rows_of_zeros_stay_zeros_and_what_is_not_finite_shows():
    x = torch.zeros(4, 32)
    x[1, 3], x[2, 5], x[3, 0] = torch.nan, torch.inf, 2.0
    wide = widened(round_rows(x))
    assert (wide[0] == 0).all()
    assert not wide[1].isfinite().all()
    assert not wide[2].isfinite().all()
    assert torch.equal(wide[3], x[3])


@given(seed=st.integers(0, 2**31))
def test_experts_in_mxfp4_stay_exactly_what_they_are(seed):
    torch.manual_seed(seed)
    blocks = torch.randint(0, 256, (9, 6, 16), dtype=torch.uint8)
    scales = torch.randint(100, 115, (9, 6), dtype=torch.uint8)  # 14 powers of two apart
    matrix = unpack(blocks, scales)
    rounded = round_rows(matrix, powers=True)
    assert torch.equal(widened(rounded), matrix.float())
    fractions, _ = torch.frexp(rounded.scales)
    assert (fractions == 0.5).all()
    assert not torch.equal(widened(round_rows(matrix)), matrix.float())


def test_powers_show_what_is_not_finite():
    x = torch.ones(2, 32)
    x[0, 3], x[1, 5] = torch.nan, -torch.inf
    assert round_rows(x, powers=True).scales.isnan().all()


def _matrix(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    return torch.randn(rows, columns, dtype=torch.bfloat16, device=device) / columns**0.5


def _check_linear(tokens: int, rows: int, columns: int, device: torch.device) -> None:
    x, weight = _matrix(tokens, columns, device), _matrix(rows, columns, device)
    bias = torch.randn(rows, dtype=torch.bfloat16, device=device)
    rounded = round_rows(weight)
    out = linear_rounded(x, rounded, bias)
    same = widened(round_rows(x)).double() @ widened(rounded).double().T
    assert out.dtype is torch.bfloat16
    assert _distance(linear_rounded(x, rounded, None), same) < 4e-3
    assert _distance(out, same + bias.double()) < 6e-3
    assert _distance(out, x.double() @ weight.double().T + bias.double()) < 0.05


def _check_groups(sizes: list[int], rows: int, columns: int, device: torch.device) -> None:
    x = round_rows(_matrix(sum(sizes), columns, device))
    weights = [_matrix(rows, columns, device) for _ in sizes]
    rounded = stacked([round_rows(one) for one in weights])
    ends = torch.tensor(sizes, device=device).cumsum(0).int()
    out = grouped_product(x, rounded, ends)
    wide = widened(x).double().split(sizes)
    expected = [
        part @ one.double().T for part, one in zip(wide, widened(rounded), strict=True)
    ]  # fmt: skip
    assert _distance(out, torch.cat(expected)) < 4e-3


def _experts(
    experts: int, hidden: int, ffn: int, device: torch.device
) -> tuple[ExpertWeights, RoundedExperts]:
    """In bfloat16, and their rounded copy."""
    up = torch.randn(experts, 2 * ffn, hidden, dtype=torch.bfloat16, device=device) / hidden**0.5
    down = torch.randn(experts, hidden, ffn, dtype=torch.bfloat16, device=device) / ffn**0.5
    biases = (
        torch.randn(experts, n, dtype=torch.bfloat16, device=device) for n in (2 * ffn, hidden)
    )
    plain = ExpertWeights(
        gate_up=up.mT, gate_up_bias=next(biases), down=down.mT, down_bias=next(biases), alpha=1.702, limit=7.0,
    )  # fmt: skip

    def copy(matrices: torch.Tensor) -> ScaledFp8:
        return stacked([round_rows(one) for one in matrices])

    return plain, RoundedExperts(copy(up), copy(down))


def _check_experts(
    tokens: int, experts: int, top_k: int, hidden: int, ffn: int, device: torch.device
) -> None:
    plain, rounded = _experts(experts, hidden, ffn, device)
    x = torch.randn(tokens, hidden, dtype=torch.bfloat16, device=device)
    ids = torch.stack([torch.randperm(experts, device=device)[:top_k] for _ in range(tokens)])
    ids[ids == 1] = 0  # an expert without tokens, and twice the same for some
    weights = torch.rand(tokens, top_k, dtype=torch.bfloat16, device=device)
    biases = plain.gate_up_bias, plain.down_bias
    out = run_rounded(x, ids, weights, rounded, plain)
    twin = ExpertWeights(
        gate_up=widened(rounded.gate_up).mT, gate_up_bias=biases[0].float(),
        down=widened(rounded.down).mT, down_bias=biases[1].float(), alpha=1.702, limit=7.0,
    )  # fmt: skip
    coarse = widened(round_rows(x))
    assert out.dtype is torch.bfloat16
    assert out.shape == x.shape
    # What enters the second product is rounded in between, which the twin does not do.
    assert _distance(out, reference.run_experts(coarse, ids, weights.float(), twin)) < 0.03
    assert _distance(out, reference.run_experts(x, ids, weights, plain)) < 0.06


@pytest.mark.parametrize(("tokens", "rows", "columns"), [(1, 16, 16), (7, 48, 80), (33, 160, 96)])
def test_linear(tokens, rows, columns):
    _check_linear(tokens, rows, columns, CPU)


@pytest.mark.parametrize("sizes", [[3, 0, 5], [1], [0, 9]])
def test_groups(sizes):
    _check_groups(sizes, 48, 32, CPU)


@pytest.mark.parametrize("shape", [(9, 4, 2, 64, 48), (40, 5, 3, 32, 80)])
def test_experts(shape):
    _check_experts(*shape, device=CPU)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("tokens", "rows", "columns"), [(1, 16, 16), (7, 48, 80), (4099, 5120, 2880)]
)
def test_linear_on_a_gpu(tokens, rows, columns):
    _check_linear(tokens, rows, columns, torch.device("cuda", 0))


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", [[3, 0, 5], [1], [0, 900, 77, 1]])
def test_groups_on_a_gpu(sizes):
    _check_groups(sizes, 5760, 2880, torch.device("cuda", 0))


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(9, 4, 2, 64, 48), (4097, 8, 4, 2880, 2880)])
def test_experts_on_a_gpu(shape):
    _check_experts(*shape, device=torch.device("cuda", 0))


def _check_kernels(device: torch.device) -> None:
    """Rounding in Triton is that of torch, code by code."""
    from ossia.kernels.fp8 import triton_scaled
    from ossia.kernels.moe import triton_rows

    x = (
        torch.randn(5, 90, device=device).bfloat16()
        * torch.tensor([1e-30, 1e-3, 1, 1e3, 1e30], device=device)[:, None].bfloat16()
    )
    x = torch.cat((x, torch.zeros(1, 90, dtype=torch.bfloat16, device=device)))
    expected, found = round_rows(x.cpu()), triton_scaled.round_rows(x)
    _same(found, expected)
    bad = torch.ones(2, 90, dtype=torch.bfloat16, device=device)
    bad[0, 3], bad[1, 4] = torch.nan, -torch.inf
    assert not triton_scaled.round_rows(bad).scales.isfinite().any()

    rows, bias = (torch.randn(n, 120, device=device).bfloat16() * 5 for n in (7, 3))
    ids = torch.tensor([0, 0, 1, 2, 2, 2, 2], device=device)
    _same(triton_scaled.round_rows(x, powers=True), round_rows(x.cpu(), powers=True))
    assert not triton_scaled.round_rows(bad, powers=True).scales.isfinite().any()
    found = triton_rows.activate_rounded(rows, ids, bias, 1.702, 7.0)
    plain = triton_rows.activate(rows, ids, bias, 1.702, 7.0)
    _same(found, round_rows(plain.cpu()))
    exact = clamped_swiglu((rows + bias[ids]).double(), 1.702, 7.0)
    assert _distance(plain, exact) < 1e-2


def _same(found: ScaledFp8, expected: ScaledFp8) -> None:
    assert torch.allclose(found.scales.cpu(), expected.scales, rtol=1e-6, atol=0)
    # Quotients of scales that differ by their last bit round otherwise now and then.
    apart = found.codes.cpu().float() - expected.codes.float()
    assert (apart.abs() <= expected.codes.float().abs() / 8 + 2**-9).all()
    assert (apart != 0).double().mean() < 0.01


@pytest.mark.gpu
def test_kernels_on_a_gpu():
    _check_kernels(torch.device("cuda", 0))


def test_in_the_interpreter():
    pytest.importorskip("triton")
    run_interpreted(__file__)


if __name__ == "__main__":
    convert_fp8_as_devices_do()
    _check_kernels(CPU)

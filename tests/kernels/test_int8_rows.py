"""Rows of keys and values in 8 bits: how far off they are, and what becomes of odd ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ossia.kernels.int8 import dequantize_rows, quantize_rows, row_width


@given(
    dim=st.integers(1, 80),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]),
    seed=st.integers(0, 2**31),
)
def test_no_number_is_off_by_more_than_half_a_step(dim, dtype, size, seed):
    torch.manual_seed(seed)
    x = (torch.randn(3, 2, dim) * size).to(dtype)
    rows = quantize_rows(x)
    assert rows.dtype is torch.int8
    assert rows.shape == (3, 2, row_width(dim, torch.int8))
    step = x.double().abs().amax(-1, keepdim=True) / 127
    error = (dequantize_rows(rows, torch.float64) - x.double()).abs()
    assert (error <= step * (0.5 + 1e-4)).all()


def test_largest_magnitudes_stay():
    x = torch.tensor([[3.0, -127.0, 0.5], [-0.25, 0.125, 0.0]])
    assert torch.equal(
        dequantize_rows(quantize_rows(x), torch.float32)[0], torch.tensor([3.0, -127.0, 0.0])
    )
    assert dequantize_rows(quantize_rows(x), torch.bfloat16)[1, 0] == -0.25


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_becomes_nan(bad):
    x = torch.ones(2, 4)
    x[0, 1] = bad
    found = dequantize_rows(quantize_rows(x), torch.float32)
    assert found[0].isnan().all()
    assert torch.equal(found[1], x[1])


def test_nothing_is_nothing():
    assert not dequantize_rows(quantize_rows(torch.zeros(2, 4)), torch.float32).any()
    assert not dequantize_rows(quantize_rows(torch.full((1, 4), 1e-44)), torch.float32).any()
    assert row_width(64, torch.bfloat16) == 64

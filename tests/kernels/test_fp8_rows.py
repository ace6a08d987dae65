"""Keys and values in 8-bit floats: how far off they are, and what becomes of odd ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ossia.kernels.attention import reference as attention
from ossia.kernels.fp8 import FP8, to_fp8
from ossia.kernels.fp8.format import LARGEST
from ossia.kernels.kv_write import reference as kv_write
from ossia.kernels.rope import apply_rope, rope_table

_EVERY = torch.arange(256, dtype=torch.uint8).view(FP8)
_NUMBERS = _EVERY.double()[_EVERY.double().isfinite()].unique()


@given(
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 100.0, 1e30]),
    seed=st.integers(0, 2**31),
)
def test_each_number_becomes_the_nearest_that_there_is(dtype, size, seed):
    torch.manual_seed(seed)
    x = (torch.randn(40) * size).to(dtype)
    found = to_fp8(x)
    assert found.dtype is FP8
    distances = (x.double()[:, None] - _NUMBERS).abs()  # (numbers, 253)
    assert torch.equal((found.double() - x.double()).abs(), distances.amin(1))


@given(dtype=st.sampled_from([torch.bfloat16, torch.float16]), seed=st.integers(0, 2**31))
def test_in_the_range_of_keys_and_values_fractions_are_off_by_a_sixteenth_at_most(dtype, seed):
    torch.manual_seed(seed)
    x = torch.randn(200).to(dtype)
    x = x[(x.abs() >= 2**-6) & (x.abs() <= LARGEST)]
    assert ((to_fp8(x).double() - x.double()).abs() <= x.double().abs() / 16).all()


def test_ties_go_to_even_fractions():
    x = torch.tensor([1.0625, 1.1875, -1.0625, 2**-10, 3 * 2**-10])
    assert to_fp8(x).double().tolist() == [1.0, 1.25, -1.0, 0.0, 2**-8]


def test_what_is_too_large_is_the_largest_and_nan_stays():
    x = torch.tensor([449.0, -1e9, torch.inf, -torch.inf, torch.nan])
    found = to_fp8(x).float()
    assert found[:4].tolist() == [448, -448, 448, -448]
    assert found[4].isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_each_is_a_number_of_the_model(dtype):
    assert torch.equal(_EVERY.to(dtype).double().nan_to_num(7), _EVERY.double().nan_to_num(7))


def _pages(*shape: int) -> torch.Tensor:
    return torch.full(shape, 0x7F, dtype=torch.uint8).view(FP8)  # NaN


def test_the_reference_writes_and_reads_them():
    tokens, heads, kv_heads, dim, page_size = 21, 6, 2, 16, 4
    q, k, v = (torch.randn(tokens, n, dim).bfloat16() for n in (heads, kv_heads, kv_heads))
    rope = rope_table(torch.arange(tokens), torch.rand(dim // 2), 1.3)
    pages = _pages(9, page_size, kv_heads, dim), _pages(9, page_size, kv_heads, dim)
    table = torch.randperm(9)[:6].int()
    place = torch.arange(tokens)
    slots = table[place // page_size].long() * page_size + place % page_size
    turned = kv_write.rotate_and_write(q, k, v, rope, pages, slots)
    for kept, new in zip(pages, (apply_rope(k, *rope), v), strict=True):
        rows = kept.view(torch.uint8).view(-1, kv_heads, dim)
        assert torch.equal(rows[slots], to_fp8(new).view(torch.uint8))
        assert (rows == 0x7F).all(-1).all(-1).sum() == len(rows) - tokens, "nothing else is written"
    sinks = torch.randn(heads).double()
    for window in (None, 5):
        given = (table[None], [tokens], [tokens], sinks, window)
        wide = [torch.nan_to_num(part.double()) for part in pages]
        expected = attention.attend_paged(turned.double(), *wide, *given)
        found = attention.attend_paged(turned.double(), *pages, *given)
        assert torch.equal(found, expected)

"""Triton kernels for many tokens against their twins: on a GPU for real, else in the interpreter."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels.attention import reference as attention
from ossia.kernels.attention.blocks import query_blocks
from ossia.kernels.fp8 import FP8, has_fp8
from ossia.kernels.kv_write import reference as kv_write
from ossia.kernels.moe import reference as moe
from ossia.kernels.norm import reference as norm
from ossia.kernels.rope import rope_table
from support.triton_interpreter import (
    allow_loaded_bounds,
    convert_fp8_as_devices_do,
    run_interpreted,
)

pytest.importorskip("triton")

WINDOWS = (None, 5, 128)
HEADS = ((16, 2), (6, 2), (4, 4), (64, 8))
LENGTHS = (
    # new tokens and all tokens of each sequence
    ([37, 1, 5, 2], [37, 300, 70, 2]),
    ([1], [1]),
    ([130], [259]),
)
PAGE, DIM = 16, 64


def _distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative; NaN where anything was left unwritten."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def check_attention(
    window, heads, lengths, device: str, dtype: torch.dtype, kept: torch.dtype | None = None
) -> None:
    """With queries of a dtype over pages of the same, or of another that is kept."""
    from ossia.kernels.attention import triton_paged

    kind = {"device": device, "dtype": dtype}
    (num_heads, kv_heads), (query_lens, context_lens) = heads, lengths
    needed = [-(-context // PAGE) for context in context_lens]
    pages = torch.randperm(sum(needed) + 3).int()
    k_pages, v_pages = (torch.randn(len(pages), PAGE, kv_heads, DIM, **kind) for _ in range(2))
    table = torch.full((len(needed), max(needed)), 2**30, dtype=torch.int32)
    for row, own in zip(table, pages[: sum(needed)].split(needed), strict=True):
        row[: len(own)] = own
    for row, queries, context in zip(table, query_lens, context_lens, strict=True):
        if window is not None:  # what lies before every window may be anything
            row[: max(0, context - queries - window + 1) // PAGE] = 2**30
    table = table.to(device)
    for pool in (k_pages, v_pages):
        pool[pages[sum(needed) :].long().to(device)] = torch.nan
    if kept is not None:
        k_pages, v_pages = k_pages.to(kept), v_pages.to(kept)
    q = torch.randn(sum(query_lens), num_heads + 3, DIM, **kind)[:, :num_heads]  # rows lie apart
    sinks = torch.randn(num_heads, **kind)
    expected = attention.attend_paged(
        q.double(), k_pages.double(), v_pages.double(), table, query_lens, context_lens,
        sinks.double(), window,
    )  # fmt: skip
    size = triton_paged.queries_of_a_block(num_heads, kv_heads)
    blocks = query_blocks(query_lens, context_lens, size).to(device)
    actual = triton_paged.attend_paged(q, k_pages, v_pages, table, blocks, sinks, window)
    assert actual.dtype is dtype
    assert _distance(actual, expected) < (1e-6 if dtype is torch.float32 else 6e-3)


def check_norm(hidden: int, device: str, dtype: torch.dtype) -> None:
    from ossia.kernels.norm import triton_norm

    x = torch.randn(5, hidden, device=device, dtype=dtype)
    weight = torch.randn(hidden, device=device, dtype=dtype)
    expected = norm.rms_norm(x.double(), weight.double(), 1e-5)
    assert _distance(triton_norm.rms_norm(x, weight, 1e-5), expected) < 8e-3

    delta = torch.randn(5, hidden, device=device, dtype=dtype)
    after, normed = triton_norm.add_rms_norm(x, delta, weight, 1e-5)
    assert _distance(after, x.double() + delta.double()) < 8e-3
    if device == "cuda":  # the interpreter cuts bits off where devices round
        assert torch.equal(after, x + delta)
    assert _distance(normed, norm.add_rms_norm(x, delta, weight.double(), 1e-5)[1]) < 8e-3
    assert torch.equal(normed, triton_norm.rms_norm(after, weight, 1e-5))


def check_rope(
    heads: int,
    kv_heads: int,
    dim: int,
    device: str,
    dtype: torch.dtype,
    kept: torch.dtype | None = None,
) -> None:
    """Keys and values go to pages of the same dtype, or of another that is kept."""
    from ossia.kernels.kv_write import triton_rope

    kind = {"device": device, "dtype": dtype}
    tokens = 7
    rows = torch.randn(tokens, heads + 2 * kv_heads, dim, **kind)
    q, k, v = rows.split((heads, kv_heads, kv_heads), dim=1)
    positions = torch.arange(tokens, device=device) * 1000
    rope = rope_table(positions, torch.rand(dim // 2, device=device), 1.3)
    slots = torch.randperm(64, device=device)[:tokens]
    if kept is not None:  # the smallest and the largest, too
        v *= torch.logspace(-4, 4, dim, device=device)
        v[0, 0, :4] = torch.tensor([448.0, 464.0, -465.0, 2.0**-10], device=device)
    pages = torch.randn(2, 4, PAGE, kv_heads, dim, **kind).to(kept or dtype)
    wanted = pages.clone()
    expected = kv_write.rotate_and_write(q, k, v, rope, tuple(wanted), slots)
    triton_rope.rotate_and_write(q, k, v, rope, tuple(pages), slots)
    bound = 1e-6 if dtype is torch.float32 else 8e-3  # the interpreter cuts bits off
    assert _distance(q, expected) < bound
    # Of a key on the border of two numbers of 8 bits the last bit before decides, which may differ.
    assert _distance(pages[0], wanted[0]) < (bound if kept is None else 2e-2)
    assert torch.equal(pages[1].double(), wanted[1].double())


def check_activation(ffn: int, device: str, dtype: torch.dtype) -> None:
    from ossia.kernels.moe import triton_rows

    kind = {"device": device, "dtype": dtype}
    rows, bias = 4 * torch.randn(7, 2 * ffn, **kind), torch.randn(3, 2 * ffn, **kind)
    ids = torch.randint(0, 3, (7,), device=device)
    expected = moe.clamped_swiglu((rows + bias[ids]).double(), 1.702, 7.0)
    assert _distance(triton_rows.activate(rows, ids, bias, 1.702, 7.0), expected) < 8e-3


def check_sum(hidden: int, device: str, dtype: torch.dtype) -> None:
    from ossia.kernels.moe import triton_rows

    kind = {"device": device, "dtype": dtype}
    tokens, top_k, experts = 5, 3, 4
    said = torch.randn(tokens * top_k, hidden, **kind)
    places = torch.randperm(tokens * top_k, device=device)
    ids = torch.randint(0, experts, (tokens, top_k), device=device)
    weights, bias = torch.rand(tokens, top_k, **kind), torch.randn(experts, hidden, **kind)
    slots = (said[places].view(tokens, top_k, -1) + bias[ids]).double()
    expected = (slots * weights.double()[..., None]).sum(1)
    assert _distance(triton_rows.combine(said, places, ids, weights, bias), expected) < 8e-3


def check_operands(hidden: int, device: str) -> None:
    from ossia.kernels.decode.wide import operand_places
    from ossia.kernels.moe import triton_rows

    x = torch.randn(3, hidden, device=device, dtype=torch.bfloat16)
    columns = hidden + -hidden % 64
    filled = torch.cat((x * 2.0**64, x.new_zeros(3, columns - hidden)), 1)
    expected = filled[:, operand_places(columns).to(device)]
    assert torch.equal(triton_rows.operands(x, columns, 2.0**64), expected)
    weights = torch.rand(3, 4, device=device, dtype=torch.bfloat16)
    said = torch.randn(12, hidden, device=device, dtype=torch.bfloat16)
    expected = (said.double().view(3, 4, -1) * weights.double()[..., None]).sum(1)
    assert _distance(triton_rows.weighted_sum(said, weights), expected) < 8e-3


def _needs_fp8() -> None:
    if not has_fp8(torch.device("cuda")):
        pytest.skip("needs compute capability 9.0")


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.mark.parametrize("window", WINDOWS)
    @pytest.mark.parametrize("heads", HEADS)
    @pytest.mark.parametrize("lengths", [*LENGTHS, ([2000, 700], [5000, 700])])
    def test_attention(self, window, heads, lengths):
        check_attention(window, heads, lengths, "cuda", torch.bfloat16)

    @pytest.mark.parametrize("window", WINDOWS)
    @pytest.mark.parametrize("heads", HEADS)
    @pytest.mark.parametrize("lengths", [*LENGTHS, ([2000, 700], [5000, 700])])
    def test_attention_over_pages_in_fp8(self, window, heads, lengths):
        _needs_fp8()
        check_attention(window, heads, lengths, "cuda", torch.bfloat16, FP8)

    @pytest.mark.parametrize("hidden", [64, 2880, 7000])
    def test_norm(self, hidden):
        check_norm(hidden, "cuda", torch.bfloat16)

    @pytest.mark.parametrize("shape", [(64, 8, 64), (6, 2, 32), (4, 4, 96)])
    def test_rope(self, shape):
        check_rope(*shape, "cuda", torch.bfloat16)

    @pytest.mark.parametrize("shape", [(64, 8, 64), (6, 2, 32), (4, 4, 96)])
    def test_rope_to_pages_in_fp8(self, shape):
        _needs_fp8()
        check_rope(*shape, "cuda", torch.bfloat16, FP8)

    @pytest.mark.parametrize("size", [64, 2880, 1500])
    def test_rows(self, size):
        check_activation(size, "cuda", torch.bfloat16)
        check_sum(size, "cuda", torch.bfloat16)
        check_operands(size - size % 32, "cuda")


def test_in_the_interpreter():
    run_interpreted(__file__)


def _interpreted() -> None:
    allow_loaded_bounds()
    convert_fp8_as_devices_do()
    torch.manual_seed(0)
    for window in WINDOWS:
        check_attention(window, HEADS[1], LENGTHS[0], "cpu", torch.float32)
    check_attention(None, HEADS[2], LENGTHS[2], "cpu", torch.float32)
    check_attention(128, HEADS[0], LENGTHS[2], "cpu", torch.float32)
    for window in WINDOWS:
        check_attention(window, HEADS[1], LENGTHS[0], "cpu", torch.float32, FP8)
    check_attention(None, HEADS[2], LENGTHS[2], "cpu", torch.float32, FP8)
    check_operands(96, "cpu")
    for dtype in (torch.float32, torch.bfloat16):
        check_norm(100, "cpu", dtype)
        check_rope(6, 2, 32, "cpu", dtype)
        check_rope(6, 2, 32, "cpu", dtype, FP8)
        check_activation(1500, "cpu", dtype)
        check_sum(1100, "cpu", dtype)


if __name__ == "__main__":
    _interpreted()

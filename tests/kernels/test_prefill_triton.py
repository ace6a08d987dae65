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
LONG = (([8192], [8192]), ([7, 40], [131_072, 41]))
COUNTS = (*range(1, 17), 100, 1000, 8192)
"""Of rows or tokens."""
PAGE, DIM = 16, 64


def _distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative; NaN where anything was left unwritten."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def _sample(lengths, most: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Some of the new tokens, the first and the last among them: rows, their sequences, tokens up to each."""
    query_lens, context_lens = lengths
    sequences = torch.arange(len(query_lens)).repeat_interleave(torch.tensor(query_lens))
    spans = [
        torch.arange(context - queries, context)
        for queries, context in zip(query_lens, context_lens, strict=True)
    ]
    last = len(sequences) - 1
    rows = torch.cat((torch.tensor([0, last]), torch.randperm(last + 1)[:most]))
    return rows, sequences[rows], (torch.cat(spans)[rows] + 1).tolist()


def check_attention(
    window,
    heads,
    lengths,
    device: str,
    dtype: torch.dtype,
    kept: torch.dtype | None = None,
    most: int | None = None,
) -> None:
    """With queries of a dtype over pages of the same, or of another that is kept.

    Of so many new tokens that the twin would take long, `most` are compared, each as a sequence of its own.
    """
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
    rows, tables, new, seen = slice(None), table, query_lens, context_lens
    if most is not None:
        rows, sequences, seen = _sample(lengths, most)
        rows, tables, new = rows.to(device), table[sequences.to(device)], [1] * len(rows)
    expected = attention.attend_paged(
        q[rows].double(), k_pages.double(), v_pages.double(), tables, new, seen, sinks.double(), window
    )  # fmt: skip
    size = triton_paged.queries_of_a_block(num_heads, kv_heads)
    blocks = query_blocks(query_lens, context_lens, size).to(device)
    actual = triton_paged.attend_paged(q, k_pages, v_pages, table, blocks, sinks, window)
    assert actual.dtype is dtype
    assert actual.isfinite().all(), "rows were left unwritten"
    # Rows count alike: the more keys, the smaller they are.
    sizes = expected.flatten(1).norm(dim=1)[:, None, None]
    error = _distance(actual[rows] / sizes, expected / sizes)
    assert error < (1e-6 if dtype is torch.float32 else 6e-3)


def check_norm(rows: int, hidden: int, device: str, dtype: torch.dtype) -> None:
    from ossia.kernels.norm import triton_norm

    x = torch.randn(rows, hidden, device=device, dtype=dtype)
    weight = torch.randn(hidden, device=device, dtype=dtype)
    expected = norm.rms_norm(x.double(), weight.double(), 1e-5)
    assert _distance(triton_norm.rms_norm(x, weight, 1e-5), expected) < 8e-3

    delta = torch.randn(rows, hidden, device=device, dtype=dtype)
    after, normed = triton_norm.add_rms_norm(x, delta, weight, 1e-5)
    assert _distance(after, x.double() + delta.double()) < 8e-3
    if device == "cuda":  # the interpreter cuts bits off where devices round
        assert torch.equal(after, x + delta)
    assert _distance(normed, norm.add_rms_norm(x, delta, weight.double(), 1e-5)[1]) < 8e-3
    assert torch.equal(normed, triton_norm.rms_norm(after, weight, 1e-5))


def check_rope(
    tokens: int,
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
    rows = torch.randn(tokens, heads + 2 * kv_heads, dim, **kind)
    q, k, v = rows.split((heads, kv_heads, kv_heads), dim=1)
    positions = torch.randint(0, 131_072, (tokens,), device=device)
    rope = rope_table(positions, torch.rand(dim // 2, device=device), 1.3)
    num_pages = tokens // PAGE + 4
    slots = torch.randperm(num_pages * PAGE, device=device)[:tokens]
    if kept is not None:  # the smallest and the largest, too
        v *= torch.logspace(-4, 4, dim, device=device)
        v[0, 0, :4] = torch.tensor([448.0, 464.0, -465.0, 2.0**-10], device=device)
    pages = torch.randn(2, num_pages, PAGE, kv_heads, dim, **kind).to(kept or dtype)
    wanted = pages.clone()
    expected = kv_write.rotate_and_write(q, k, v, rope, tuple(wanted), slots)
    triton_rope.rotate_and_write(q, k, v, rope, tuple(pages), slots)
    bound = 1e-6 if dtype is torch.float32 else 8e-3  # the interpreter cuts bits off
    assert _distance(q, expected) < bound
    # Of a key on the border of two numbers of 8 bits the last bit before decides, which may differ.
    assert _distance(pages[0], wanted[0]) < (bound if kept is None else 2e-2)
    assert torch.equal(pages[1].double(), wanted[1].double())


def check_activation(count: int, ffn: int, device: str, dtype: torch.dtype) -> None:
    from ossia.kernels.moe import triton_rows

    kind = {"device": device, "dtype": dtype}
    rows, bias = 4 * torch.randn(count, 2 * ffn, **kind), torch.randn(3, 2 * ffn, **kind)
    ids = torch.randint(0, 3, (count,), device=device)
    expected = moe.clamped_swiglu((rows + bias[ids]).double(), 1.702, 7.0)
    assert _distance(triton_rows.activate(rows, ids, bias, 1.702, 7.0), expected) < 8e-3


def check_sum(tokens: int, hidden: int, device: str, dtype: torch.dtype) -> None:
    from ossia.kernels.moe import triton_rows

    kind = {"device": device, "dtype": dtype}
    top_k, experts = 3, 4
    said = torch.randn(tokens * top_k, hidden, **kind)
    places = torch.randperm(tokens * top_k, device=device)
    ids = torch.randint(0, experts, (tokens, top_k), device=device)
    weights, bias = torch.rand(tokens, top_k, **kind), torch.randn(experts, hidden, **kind)
    slots = (said[places].view(tokens, top_k, -1) + bias[ids]).double()
    expected = (slots * weights.double()[..., None]).sum(1)
    assert _distance(triton_rows.combine(said, places, ids, weights, bias), expected) < 8e-3


def check_operands(tokens: int, hidden: int, device: str) -> None:
    from ossia.kernels.decode.wide import operand_places
    from ossia.kernels.moe import triton_rows

    x = torch.randn(tokens, hidden, device=device, dtype=torch.bfloat16)
    columns = hidden + -hidden % 64
    filled = torch.cat((x * 2.0**64, x.new_zeros(tokens, columns - hidden)), 1)
    expected = filled[:, operand_places(columns).to(device)]
    assert torch.equal(triton_rows.operands(x, columns, 2.0**64), expected)
    weights = torch.rand(tokens, 4, device=device, dtype=torch.bfloat16)
    said = torch.randn(4 * tokens, hidden, device=device, dtype=torch.bfloat16)
    expected = (said.double().view(tokens, 4, -1) * weights.double()[..., None]).sum(1)
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

    @pytest.mark.parametrize("window", [None, 128])
    @pytest.mark.parametrize("lengths", LONG)
    def test_attention_of_long_prompts_and_contexts(self, window, lengths):
        check_attention(window, HEADS[-1], lengths, "cuda", torch.bfloat16, most=64)

    @pytest.mark.parametrize("window", [None, 128])
    @pytest.mark.parametrize("lengths", LONG)
    def test_attention_of_long_prompts_and_contexts_over_pages_in_fp8(self, window, lengths):
        _needs_fp8()
        check_attention(window, HEADS[-1], lengths, "cuda", torch.bfloat16, FP8, most=64)

    @pytest.mark.parametrize("rows", COUNTS)
    @pytest.mark.parametrize("hidden", [64, 2880, 7000])
    def test_norm(self, rows, hidden):
        check_norm(rows, hidden, "cuda", torch.bfloat16)

    @pytest.mark.parametrize("tokens", COUNTS)
    @pytest.mark.parametrize("shape", [(64, 8, 64), (6, 2, 32), (4, 4, 96)])
    def test_rope(self, tokens, shape):
        check_rope(tokens, *shape, "cuda", torch.bfloat16)

    @pytest.mark.parametrize("tokens", COUNTS)
    @pytest.mark.parametrize("shape", [(64, 8, 64), (6, 2, 32), (4, 4, 96)])
    def test_rope_to_pages_in_fp8(self, tokens, shape):
        _needs_fp8()
        check_rope(tokens, *shape, "cuda", torch.bfloat16, FP8)

    @pytest.mark.parametrize("count", COUNTS)
    @pytest.mark.parametrize("size", [64, 2880, 1500])
    def test_rows(self, count, size):
        check_activation(count, size, "cuda", torch.bfloat16)
        check_sum(count, size, "cuda", torch.bfloat16)
        check_operands(count, size - size % 32, "cuda")


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
    check_attention(5, HEADS[1], LENGTHS[0], "cpu", torch.float32, most=9)
    check_operands(3, 96, "cpu")
    for dtype in (torch.float32, torch.bfloat16):
        check_norm(5, 100, "cpu", dtype)
        check_rope(7, 6, 2, 32, "cpu", dtype)
        check_rope(7, 6, 2, 32, "cpu", dtype, FP8)
        check_activation(7, 1500, "cpu", dtype)
        check_sum(5, 1100, "cpu", dtype)


if __name__ == "__main__":
    _interpreted()

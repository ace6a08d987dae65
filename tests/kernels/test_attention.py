"""Attention against its definition in float64 loops, in all three layouts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ossia.kernels.attention.reference as reference
from ossia.kernels.attention import attend, attend_paged, attend_ragged, choice
from ossia.kernels.attention.blocks import query_blocks
from ossia.kernels.kv_write import write_kv
from support.tolerances import assert_near


def _defined(q, k, v, q_positions, k_positions, sinks, window):
    """One sequence: the textbook sum, one query, head and key at a time."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    group = q.shape[1] // k.shape[1]
    for i, p in enumerate(q_positions):
        seen = [
            j
            for j, key in enumerate(k_positions)
            if 0 <= key <= p and (window is None or key > p - window)
        ]
        for head in range(q.shape[1]):
            keys, values = k[:, head // group].double(), v[:, head // group].double()
            scores = [float(q[i, head].double() @ keys[j]) / math.sqrt(q.shape[2]) for j in seen]
            peak = max([float(sinks[head]), *scores])
            shares = [math.exp(score - peak) for score in scores]
            total = sum(shares) + math.exp(float(sinks[head]) - peak)
            for j, share in zip(seen, shares, strict=True):
                out[i, head] += share / total * values[j]
    return out


def _qkv(queries, keys, heads, kv_heads, dim, dtype=torch.float32):
    return (
        torch.randn(queries, heads, dim).to(dtype),
        torch.randn(keys, kv_heads, dim).to(dtype),
        torch.randn(keys, kv_heads, dim).to(dtype),
        torch.randn(heads).to(dtype),
    )


shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([2, 6, 16]))
windows = st.one_of(st.none(), st.integers(1, 12))
fuzz = settings(max_examples=40, deadline=None)


@fuzz
@given(shapes, windows, st.lists(st.integers(1, 13), min_size=1, max_size=3), st.integers(0, 2**31))
def test_ragged(shape, window, lens, seed):
    torch.manual_seed(seed)
    kv_heads, group, dim = shape
    q, k, v, sinks = _qkv(sum(lens), sum(lens), kv_heads * group, kv_heads, dim)
    positions = torch.cat([torch.arange(n) + 3 for n in lens])
    out = attend_ragged(q, k, v, positions, lens, sinks, window)
    for rows in torch.arange(sum(lens)).split(lens):
        place = positions[rows].tolist()
        expected = _defined(q[rows], k[rows], v[rows], place, place, sinks, window)
        assert_near(out[rows], expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@fuzz
@given(
    shape=shapes,
    window=windows,
    contexts=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 14)), min_size=1, max_size=3),
    page_size=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_paged_with_poisoned_pages(dtype, shape, window, contexts, page_size, seed):
    """Shuffled pages; whatever lies outside the context or was recycled before it is NaN."""
    torch.manual_seed(seed)
    kv_heads, group, dim = shape
    query_lens = [new for new, _ in contexts]
    context_lens = [new + old for new, old in contexts]
    max_pages = -(-max(context_lens) // page_size) + 1
    table = torch.randperm(len(contexts) * max_pages).view(len(contexts), max_pages).int()
    pages = torch.full((2, table.numel(), page_size, kv_heads, dim), torch.nan, dtype=dtype)
    queries, expected = [], []
    for seq, (new, old) in enumerate(contexts):
        q, k, v, sinks = _qkv(new, new + old, kv_heads * group, kv_heads, dim, dtype)
        positions = torch.arange(new + old)
        slots = table[seq, positions // page_size].long() * page_size + positions % page_size
        write_kv(pages[0], k, slots)
        write_kv(pages[1], v, slots)
        if window is not None:
            recycled = max(0, old - window + 1) // page_size
            pages[:, table[seq, :recycled].long()] = torch.nan
            table[seq, :recycled] = -1
        queries.append((q, k, v, list(range(old, new + old))))
    sinks = torch.randn(kv_heads * group).to(dtype)
    for q, k, v, place in queries:
        expected.append(_defined(q, k, v, place, range(len(k)), sinks, window))
    out = attend_paged(
        torch.cat([q for q, *_ in queries]), *pages, table, query_lens, context_lens, sinks, window
    )
    assert_near(out, torch.cat(expected))


def test_slices_of_queries_change_nothing(monkeypatch):
    q, k, v, sinks = _qkv(11, 11, 4, 2, 8)
    positions = torch.arange(11)[None]
    whole = attend(q[None], k[None], v[None], positions, positions, sinks, 5)
    monkeypatch.setattr(reference, "_MAX_SCORES", 4 * 11 * 3)
    sliced = attend(q[None], k[None], v[None], positions, positions, sinks, 5)
    assert_near(sliced, whole)


def test_a_query_that_sees_nothing_gets_zeros():
    q, k, v, sinks = _qkv(1, 2, 2, 1, 4)
    out = attend(q[None], k[None], v[None], torch.tensor([[0]]), torch.tensor([[-1, 5]]), sinks, 3)
    assert torch.equal(out, torch.zeros_like(out))


def test_a_large_sink_takes_all_attention():
    q, k, v, _ = _qkv(3, 3, 2, 1, 4)
    positions = torch.arange(3)
    out = attend_ragged(q, k, v, positions, [3], torch.tensor([1e4, -1e4]), None)
    assert out[:, 0].abs().max() == 0
    assert_near(out[0, 1], v[0, 0])


@pytest.mark.parametrize("head_dim", [8, 96, 128])
def test_heads_that_no_kernel_is_made_for_go_to_the_reference(head_dim, monkeypatch):
    """Were they taken, Triton would refuse tensors on the CPU."""
    monkeypatch.setattr(choice, "_chosen", lambda device: "triton")  # not the CPU's kernel
    half = {"dtype": torch.bfloat16}
    q, pages = torch.randn(3, 2, head_dim, **half), torch.randn(2, 2, 4, 1, head_dim, **half)
    rest = (torch.tensor([[1]], dtype=torch.int32), [3], [3], torch.zeros(2, **half), None)
    blocks = query_blocks([3], [3], 64)
    with torch.inference_mode():
        expected = reference.attend_paged(q, *pages, *rest)
        assert torch.equal(choice.attend_paged(q, *pages, *rest, blocks), expected)

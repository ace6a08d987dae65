"""Norm, rope with KV write, and attention by the CPU kernels against the references in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.kernels import attention, kv_write, norm
from ossia.kernels.attention import cpu as attention_cpu
from ossia.kernels.attention import reference as attention_reference
from ossia.kernels.int8 import dequantize_rows, quantize_rows
from ossia.kernels.kv_write import cpu as kv_write_cpu
from ossia.kernels.kv_write import reference as kv_write_reference
from ossia.kernels.norm import cpu as norm_cpu
from ossia.kernels.norm import reference as norm_reference
from ossia.kernels.rope import reference as rope_reference
from support import cpu_kernels
from support.paging import as_floats, poisoned_pages
from support.tolerances import assert_near

isas = pytest.mark.parametrize("isa", cpu_kernels.runnable_isas() or ["none"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
stores = pytest.mark.parametrize("int8_pages", [False, True])
fuzz = settings(max_examples=15)


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


@isas
@dtypes
@fuzz
@given(
    rows=st.integers(1, 40), hidden=st.integers(1, 3000), threads=st.integers(1, 4),
    size=st.sampled_from([1e-3, 1.0, 1e4]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_norm(isa, dtype, rows, hidden, threads, size, seed):
    torch.manual_seed(seed)
    x, weight = (torch.randn(rows, hidden) * size).to(dtype), torch.randn(hidden).to(dtype)
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa):
        patched.setattr(norm_cpu, "num_threads", lambda: threads)
        out = norm_cpu.rms_norm(x, weight, 1e-5)
    assert_near(out, norm_reference.rms_norm(x.double(), weight.double(), 1e-5))


@isas
@dtypes
@fuzz
@given(
    tokens=st.integers(1, 9), kv_heads=st.integers(1, 3), group=st.integers(1, 4),
    half=st.integers(1, 40), joined=st.booleans(), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_rope_and_write(isa, dtype, tokens, kv_heads, group, half, joined, seed):
    torch.manual_seed(seed)
    heads, dim, page_size = kv_heads * group, 2 * half, 4
    sizes = [heads * dim, kv_heads * dim, kv_heads * dim]
    if joined:  # one product gave all three
        parts = torch.randn(tokens, sum(sizes)).to(dtype).split(sizes, dim=1)
    else:
        parts = [torch.randn(tokens, size).to(dtype) for size in sizes]
    q, k, v = (part.unflatten(1, (-1, dim)) for part in parts)
    angles = torch.randn(tokens, half) * 10
    rope = (angles.cos() * 1.3, angles.sin() * 1.3)
    slots = torch.randperm(6 * page_size)[:tokens]
    pages = torch.full((2, 6, page_size, kv_heads, dim), torch.nan, dtype=dtype)
    expected_pages = pages.double()
    wide = [part.double() for part in (q, k, v)]
    expected = kv_write_reference.rotate_and_write(
        *wide, (rope[0].double(), rope[1].double()), tuple(expected_pages), slots
    )
    with cpu_kernels.needed().using(isa):
        kv_write_cpu.rotate_and_write(q, k, v, rope, tuple(pages), slots)
    assert_near(q, expected)
    written = torch.zeros(6 * page_size, dtype=torch.bool).index_fill(0, slots, True)
    flat, expected_flat = pages.flatten(1, 2), expected_pages.flatten(1, 2)
    assert flat[:, ~written].isnan().all(), "a slot was written that was not asked for"
    assert_near(flat[:, written], expected_flat[:, written])
    assert torch.equal(flat[1, slots], v)


@isas
@dtypes
@fuzz
@given(
    tokens=st.integers(1, 9), kv_heads=st.integers(1, 3), half=st.integers(1, 40),
    size=st.sampled_from([1e-30, 1.0, 1e30]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_rope_and_write_to_pages_of_8_bits(isa, dtype, tokens, kv_heads, half, size, seed):
    torch.manual_seed(seed)
    dim, page_size = 2 * half, 4
    q, k, v = ((torch.randn(tokens, kv_heads, dim) * size).to(dtype) for _ in range(3))
    v[0, 0] = 0.0
    v[-1, -1, -1] = [torch.nan, torch.inf, 1.0][seed % 3]
    angles = torch.randn(tokens, half) * 10
    rope = (angles.cos(), angles.sin())
    slots = torch.randperm(6 * page_size)[:tokens]
    pages = torch.stack([poisoned_pages((6, page_size, kv_heads, dim), torch.int8)] * 2)
    wide = (k.double(), rope[0].double(), rope[1].double())
    with cpu_kernels.needed().using(isa):
        kv_write_cpu.rotate_and_write(q, k, v, rope, tuple(pages), slots)
    assert_near(k, rope_reference.apply_rope(*wide))  # turned in place, as is known from here on
    written = torch.zeros(6 * page_size, dtype=torch.bool).index_fill(0, slots, True)
    flat = pages.flatten(1, 2)
    assert dequantize_rows(flat[:, ~written], dtype).isnan().all()
    for part, x in zip(flat, (k, v), strict=True):
        kept, expected = (
            dequantize_rows(rows, torch.float32) for rows in (part[slots], quantize_rows(x))
        )
        assert torch.equal(kept.nan_to_num(nan=7e37), expected.nan_to_num(nan=7e37))


def _paged(query_lens, context_lens, shape, page_size, window, dtype, *, int8_pages=False):
    """Queries, pages, table and sinks; NaN where no query may look: unused slots, recycled pages."""
    kv_heads, group, dim = shape
    seqs, max_pages = len(query_lens), -(-max(context_lens) // page_size) + 1
    table = torch.randperm(seqs * max_pages).view(seqs, max_pages).int()
    stored = torch.int8 if int8_pages else dtype
    pages = torch.stack([poisoned_pages((table.numel(), page_size, kv_heads, dim), stored)] * 2)
    nothing = pages[0, 0, 0].clone()
    for seq, (new, context) in enumerate(zip(query_lens, context_lens, strict=True)):
        positions = torch.arange(context)
        slots = table[seq, positions // page_size].long() * page_size + positions % page_size
        for part in pages:
            kv_write_reference.write_kv(part, torch.randn(context, kv_heads, dim), slots)
        if window is not None:
            first_seen = max(0, context - new - window + 1)
            pages.flatten(1, 2)[:, slots[:first_seen]] = nothing
            table[seq, : first_seen // page_size] = -1
    q = torch.randn(sum(query_lens), kv_heads * group, dim).to(dtype)
    return q, pages, table, torch.randn(kv_heads * group).to(dtype)


def _attend(isa, threads, q, pages, table, lens, sinks, window):
    """By the kernels, into memory that is full of NaN."""
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa):
        patched.setattr(attention_cpu, "num_threads", lambda: threads)
        patched.setattr(torch, "empty_like", lambda x: torch.full_like(x, torch.nan))
        return attention_cpu.attend_paged(q, *pages, table, *lens, sinks, window)


@isas
@dtypes
@stores
@fuzz
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 70)),
    window=st.one_of(st.none(), st.integers(1, 40)),
    contexts=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 90)), min_size=1, max_size=4),
    page_size=st.integers(1, 20),
    threads=st.integers(1, 4),
    loud=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_attention(isa, dtype, int8_pages, shape, window, contexts, page_size, threads, loud, seed):
    torch.manual_seed(seed)
    lens = ([new for new, _ in contexts], [new + old for new, old in contexts])
    q, pages, table, sinks = _paged(*lens, shape, page_size, window, dtype, int8_pages=int8_pages)
    q *= 30 if loud else 1
    out = _attend(isa, threads, q, pages, table, lens, sinks, window)
    read = as_floats(pages, dtype).double().nan_to_num()
    expected = attention_reference.attend_paged(
        q.double(), *read, table, *lens, sinks.double(), window
    )
    assert_near(out, expected)


@isas
@dtypes
@pytest.mark.parametrize("window", [None, 1, 5, 128])
@pytest.mark.parametrize(
    ("shape", "page_size"),
    [((2, 8, 64), 16), ((3, 3, 64), 7), ((1, 1, 40), 13), ((1, 130, 64), 16)],
)
def test_attention_of_prompts(isa, dtype, window, shape, page_size):
    torch.manual_seed(0)
    query_lens = [1, 2, 15, 16, 17, 33, 129, 1, 40]
    lens = (query_lens, [1, 2, 15, 16, 50, 33, 140, 600, 560])
    q, pages, table, sinks = _paged(*lens, shape, page_size, window, dtype)
    out = _attend(isa, 2, q, pages, table, lens, sinks, window)
    expected = attention_reference.attend_paged(
        q.double(), *pages.double().nan_to_num(), table, *lens, sinks.double(), window
    )
    assert_near(out, expected)


@isas
@dtypes
@stores
@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize("shape", [(2, 8, 64), (3, 3, 33)])
def test_attention_gives_the_same_bits_alone_in_pieces_and_with_any_threads(
    isa, dtype, int8_pages, window, shape
):
    torch.manual_seed(0)
    new, context, page_size = 70, 620, 16
    lens = ([new, 1], [context, 300])
    q, pages, table, sinks = _paged(*lens, shape, page_size, None, dtype, int8_pages=int8_pages)
    together = _attend(isa, 1, q, pages, table, lens, sinks, window)
    for threads in (2, 3, 16):
        assert torch.equal(_attend(isa, threads, q, pages, table, lens, sinks, window), together)
    alone = _attend(isa, 1, q[new:], pages, table[1:], ([1], [300]), sinks, window)
    assert torch.equal(alone, together[new:])
    for first, end in [(0, 1), (1, 34), (34, 69), (69, 70)]:
        at = ([end - first], [context - new + end])
        piece = _attend(isa, 4, q[first:end], pages, table[:1], at, sinks, window)
        assert torch.equal(piece, together[first:end])


@isas
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_keys_and_values_that_are_not_finite_are_not_hidden(isa, bad):
    pages = torch.ones(2, 2, 4, 1, 8)
    table, sinks = torch.tensor([[0, 1]], dtype=torch.int32), torch.zeros(2)
    for part in (0, 1):
        spoiled = pages.clone()
        spoiled[part, 1, 0, 0, 3] = bad
        with cpu_kernels.needed().using(isa):
            out = attention_cpu.attend_paged(
                torch.ones(1, 2, 8), *spoiled, table, [1], [7], sinks, None
            )
        assert not out.isfinite().all()


class TestChoice:
    """Which calls go to the kernels."""

    @pytest.fixture
    def taken(self, monkeypatch):
        names: list[str] = []
        for module, name in [
            (norm_cpu, "rms_norm"), (kv_write_cpu, "rotate_and_write"), (attention_cpu, "attend_paged"),
        ]:  # fmt: skip
            run = getattr(module, name)

            def noted(*arguments, _name=name, _run=run):
                names.append(_name)
                return _run(*arguments)

            monkeypatch.setattr(module, name, noted)
        return names

    def _run_all(self, dtype, *, new: int = 1, stored=None) -> None:
        norm.rms_norm(torch.randn(3, 8, dtype=dtype), torch.ones(8, dtype=dtype), 1e-5)
        width = 12 if stored is torch.int8 else 8
        pages = torch.zeros(2, 4, 4, 2, width, dtype=stored or dtype)
        q = torch.randn(new, 4, 8, dtype=dtype)
        k, v = torch.randn(2, new, 2, 8, dtype=dtype)
        rope = (torch.ones(new, 4), torch.zeros(new, 4))
        kv_write.rotate_and_write(q, k, v, rope, tuple(pages), torch.arange(new))
        table = torch.arange(4, dtype=torch.int32)[None]
        attention.attend_paged(
            q, *pages, table, [new], [new], torch.zeros(4, dtype=dtype), None
        )  # fmt: skip

    @dtypes
    def test_without_gradients(self, taken, dtype):
        with torch.no_grad():
            self._run_all(dtype)
        norms = ["rms_norm"] if dtype is torch.bfloat16 else []
        assert taken == [*norms, "rotate_and_write", "attend_paged"]

    def test_prompts_too(self, taken):
        with torch.no_grad():
            self._run_all(torch.float32, new=16)
        assert taken == ["rotate_and_write", "attend_paged"]

    def test_pages_of_8_bits_and_of_no_other_dtype(self, taken):
        with torch.no_grad():
            self._run_all(torch.float32, stored=torch.int8)
            assert taken == ["rotate_and_write", "attend_paged"]
            self._run_all(torch.float32, stored=torch.bfloat16)
        assert len(taken) == 2

    def test_other_dtypes_and_gradients_go_to_the_reference(self, taken):
        with torch.no_grad():
            self._run_all(torch.float64)
            self._run_all(torch.float16)
        self._run_all(torch.float32)
        assert taken == []

"""Sampling by the CPU kernels: the tokens that the reference draws with the same numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.errors import KernelError
from ossia.kernels import sampling
from ossia.kernels.cpu.calls import NarrowLogitsCall
from ossia.kernels.sampling import Drawing, choice, cpu, reference
from support import cpu_kernels
from support.tolerances import assert_near

isas = pytest.mark.parametrize("isa", cpu_kernels.runnable_isas() or ["none"])
VOCABS = [1, 7, 31, 127, 128, 129, 4_097, 201_088]
vocabs = pytest.mark.parametrize("vocab", VOCABS)
_SEEDS = st.integers(0, 2**31)
_BELOW_ONE = float(np.nextafter(1.0, 0.0))


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


def rows_of(rows: int, vocab: int, scale: float = 3.0, rounded: bool = False) -> torch.Tensor:
    """Random logits, if rounded to bfloat16 with many ties; beside them and between rows lies NaN."""
    logits = torch.randn(rows, vocab) * scale
    memory = torch.full((rows, vocab + 5), torch.nan)
    memory[:, 2:-3] = logits.bfloat16().float() if rounded else logits
    return memory[:, 2:-3]


def sample(isa, logits, drawings, threads=1) -> tuple[list[int], list[float]]:
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa):
        patched.setattr(cpu, "num_threads", lambda: threads)
        ids, peaks = cpu.sample(logits, drawings)
    return ids.tolist(), peaks.tolist()


def drawing(uniform, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0) -> Drawing:
    return Drawing(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, uniform=uniform)


def draws(row: torch.Tensor, how: Drawing, token_id: int) -> bool:
    """Whether the reference draws this token with a number that differs by no more than 1e-5.

    Rounding may decide whether a token on the border of top_p or min_p is kept; either will do.
    """
    for p, min_p in itertools.product((1.0, 1 - 3e-6, 1 + 3e-6), repeat=2):
        kept = reference.truncate(
            row[None],
            torch.tensor([how.temperature]),
            torch.tensor([how.top_k]),
            torch.tensor([how.top_p * p if how.top_p < 1 else 1.0]),
            torch.tensor([min(how.min_p * min_p, 1.0)]),
        )[0]
        cumulated = kept.double().exp().cumsum(0)
        cumulated /= cumulated[-1].clone()
        below = float(cumulated[token_id - 1]) if token_id else 0.0
        within = below - 1e-5 <= how.uniform <= float(cumulated[token_id]) + 1e-5
        if within and kept[token_id] > -torch.inf:
            return True
    return False


@isas
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 129), (2, 40_001), (1, 201_088)])
def test_widened(isa, threads, shape):
    logits = torch.randn(shape).bfloat16()
    logits.flatten()[-1:] = torch.nan
    logits.flatten()[:1] = -torch.inf
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa):
        patched.setattr(cpu, "num_threads", lambda: threads)
        out = cpu.widened(logits)
    torch.testing.assert_close(out, logits.float(), rtol=0, atol=0, equal_nan=True)


def test_only_contiguous_bfloat16_of_the_cpu_is_widened_by_the_kernels(monkeypatch):
    taken = []
    monkeypatch.setattr(cpu, "widened", lambda logits: taken.append(logits) or logits.float())
    logits = torch.randn(4, 6).bfloat16()
    assert torch.equal(sampling.widened(logits), logits.float())
    assert len(taken) == 1
    assert torch.equal(sampling.widened(logits.T), logits.T.float())
    assert sampling.widened(logits.half()).dtype is torch.float32
    assert sampling.widened(logits.double()).dtype is torch.float64
    with torch.enable_grad():
        assert sampling.widened(logits.clone().requires_grad_()).requires_grad
    assert len(taken) == 1


@isas
@vocabs
@pytest.mark.parametrize("rounded", [False, True])
def test_greedy_takes_the_lowest_id_among_equals(isa, vocab, rounded):
    logits = rows_of(3, vocab, rounded=rounded)
    logits[1, torch.randint(0, vocab, (4,))] = 20.0
    logits[2] = -1.5
    for threads in (1, 3):
        ids, peaks = sample(isa, logits, [None] * 3, threads)
        assert ids == logits.numpy().argmax(axis=1).tolist()
        assert peaks == logits.amax(dim=1).tolist()


@isas
@vocabs
def test_the_only_token_that_is_allowed(isa, vocab):
    allowed = int(torch.randint(0, vocab, ()))
    logits = rows_of(1, vocab)
    logits[:] = -torch.inf
    logits[0, allowed] = -30.0
    each = [
        drawing(uniform, temperature, top_k, top_p, min_p)
        for uniform, temperature, top_k, top_p, min_p in itertools.product(
            (0.0, 1.0), (1e-45, 1.0, 100.0), (0, 2, 300), (0.0, 0.5, 1.0), (0.0, 1.0)
        )
    ]
    for how in [None, *each]:
        assert sample(isa, logits, [how]) == ([allowed], [-30.0])


@isas
@vocabs
@pytest.mark.parametrize("how", [None, drawing(0.5), drawing(0.9, top_k=3, top_p=0.7, min_p=0.1)])
def test_what_no_token_can_be_drawn_from(isa, vocab, how):
    logits = rows_of(5, vocab)
    logits[0, torch.randint(0, vocab, ())] = torch.nan
    logits[1, torch.randint(0, vocab, ())] = torch.inf
    logits[2] = -torch.inf
    logits[3, 0] = torch.inf
    logits[3, -1] = -torch.nan
    for threads in (1, 2):
        ids, peaks = sample(isa, logits, [how] * 5, threads)
        assert all(0 <= token_id < vocab for token_id in ids)
        assert math.isnan(peaks[0])
        assert math.isnan(peaks[3])
        assert peaks[1:3] == [math.inf, -math.inf]
        assert peaks[4] == float(logits[4].max())
    for row in (0, 1, 2):  # alone, by slices
        alone = sample(isa, logits[row : row + 1], [how], 3)[1]
        np.testing.assert_array_equal(alone, peaks[row : row + 1])


@isas
@settings(deadline=None, max_examples=100)
@given(
    seed=_SEEDS,
    vocab=st.sampled_from([1, 7, 31, 128, 129, 4_097]),
    scale=st.sampled_from([0.0, 0.05, 1.0, 3.0, 30.0]),
    rounded=st.booleans(),
    parameters=st.lists(
        st.tuples(
            st.one_of(st.sampled_from([0.0, _BELOW_ONE]), st.floats(0, 1, exclude_max=True)),
            st.one_of(st.sampled_from([1e-45, 1e-3, 1.0, 100.0]), st.floats(0.05, 5.0)),
            st.one_of(st.just(0), st.integers(1, 5000)),
            st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.01, 0.999)),
            st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-4, 1.0)),
        ),
        min_size=1,
        max_size=4,
    ),
    threads=st.integers(1, 3),
)
def test_draws_what_the_reference_draws(isa, seed, vocab, scale, rounded, parameters, threads):
    torch.manual_seed(seed)
    logits = rows_of(len(parameters), vocab, scale, rounded)
    each = [drawing(*values) for values in parameters]
    ids, peaks = sample(isa, logits, each, threads)
    assert peaks == logits.amax(dim=1).tolist()
    for row, how, token_id in zip(logits, each, ids, strict=True):
        assert draws(row, how, token_id), (how, token_id)


@isas
@pytest.mark.parametrize("kind", ["flat", "peaked", "tied"])
def test_a_real_vocabulary(isa, kind):
    logits = rows_of(1, 201_088, 1.0 if kind == "flat" else 2.0, rounded=kind == "tied")
    if kind == "peaked":
        logits[0, torch.randint(0, 201_088, (40,))] += torch.linspace(5, 15, 40)
    numbers = iter(torch.rand(100).tolist())
    each = [
        drawing(next(numbers), *values)
        for values in [
            (1.0, 0, 1.0, 0.0), (0.7, 50, 1.0, 0.0), (1.0, 5000, 1.0, 0.0), (1.0, 300_000, 0.9, 0.0),
            (1.0, 0, 0.05, 0.0), (1.0, 0, 0.6, 0.0), (1.0, 0, 0.95, 0.0), (1.0, 0, 0.999, 0.0),
            (100.0, 0, 0.9, 0.0), (1.0, 0, 1.0, 0.05), (1.0, 0, 1.0, 1e-4), (0.8, 100, 0.9, 0.02),
        ]
    ]  # fmt: skip
    for how in each:
        (token_id,), _ = sample(isa, logits, [how])
        assert draws(logits[0], how, token_id), (how, token_id)
        for threads in (2, 5):
            assert sample(isa, logits, [how], threads)[0] == [token_id], "threads change the draw"
    together = sample(isa, logits.expand(len(each), -1), each, 3)[0]
    assert together == [sample(isa, logits, [how])[0][0] for how in each]


@isas
def test_hardly_ever_differs_from_the_reference(isa):
    """Sums are rounded otherwise: a number on the border of two tokens may fall to either side."""
    logits = rows_of(1, 4_097, 2.0).expand(3_000, -1)
    numbers = torch.rand(3_000, dtype=torch.float64).tolist()
    kinds = [(1.0, 0, 1.0, 0.0), (0.7, 40, 1.0, 0.0), (1.3, 0, 0.9, 0.0), (1.0, 0, 1.0, 0.03)]
    each = [drawing(number, *kinds[idx % 4]) for idx, number in enumerate(numbers)]
    ids, _ = sample(isa, logits, each)
    expected = reference.sample(logits, each)[0].tolist()
    assert sum(one != other for one, other in zip(ids, expected, strict=True)) <= 3


@isas
def test_draws_follow_the_distribution(isa):
    """Chi-square over 20,000 draws; the limit is the 99.9 % quantile for 22 degrees of freedom."""
    logits = rows_of(1, 23, 1.0)
    numbers = np.random.default_rng(1).random(20_000)
    ids, _ = sample(isa, logits.expand(20_000, -1), [drawing(number) for number in numbers], 2)
    expected = 20_000 * logits[0].double().softmax(0).numpy()
    observed = np.bincount(ids, minlength=23)
    assert ((observed - expected) ** 2 / expected).sum() < 48.27


@isas
def test_rows_of_every_kind_side_by_side(isa):
    logits = rows_of(4, 501)
    each = [None, drawing(0.3), None, drawing(0.8, 0.5, 5, 0.9, 0.01)]
    ids, peaks = sample(isa, logits, each, 2)
    expected, expected_peaks = reference.sample(logits, each)
    assert ids == expected.tolist()
    assert peaks == expected_peaks.tolist()


@isas
@vocabs
@pytest.mark.parametrize("rounded", [False, True])
def test_logprobs(isa, vocab, rounded):
    logits = rows_of(2, vocab, rounded=rounded)
    token_ids = torch.randint(0, vocab, (2,))
    logprobs = logits.double().log_softmax(dim=1)
    order = np.lexsort((np.arange(vocab).repeat(2).reshape(vocab, 2).T, -logits.numpy()), axis=1)
    for num_top in {0, 1, min(20, vocab), min(2_000, vocab), min(vocab, 4_097)}:
        with cpu_kernels.needed().using(isa):
            chosen, top, top_ids = cpu.token_logprobs(logits, token_ids, num_top)
        assert_near(chosen, logprobs.gather(1, token_ids[:, None]).squeeze(1))
        assert top_ids.tolist() == order[:, :num_top].tolist()
        if num_top:
            assert_near(top, logprobs.gather(1, top_ids))


@isas
def test_logprobs_of_what_is_not_finite(isa):
    logits = rows_of(3, 300)
    logits[0, 70] = torch.nan
    logits[1] = -torch.inf
    logits[2, 290] = torch.inf
    with cpu_kernels.needed().using(isa):
        chosen, top, top_ids = cpu.token_logprobs(logits, torch.tensor([1, 2, 3]), 4)
    assert chosen.isnan().all()
    assert top.isnan().all()
    assert top_ids.tolist() == [[0, 1, 2, 3]] * 3


@isas
def test_logprobs_of_what_is_ruled_out(isa):
    logits = rows_of(1, 300)
    logits[0, 5:] = -torch.inf
    with cpu_kernels.needed().using(isa):
        chosen, top, _ = cpu.token_logprobs(logits, torch.tensor([7]), 6)
    assert chosen.tolist() == [-math.inf]
    assert top[0, :5].isfinite().all()
    assert float(top[0, 5]) == -math.inf


@pytest.mark.parametrize("token_id", [-1, 300])
def test_tokens_out_of_range_are_refused(token_id):
    with pytest.raises(KernelError, match="token's number"):
        cpu.token_logprobs(rows_of(1, 300), torch.tensor([token_id]), 1)


def test_only_float32_rows_on_the_cpu_go_to_the_kernels(monkeypatch):
    taken: list[torch.Size] = []
    monkeypatch.setattr(cpu, "sample", lambda logits, drawings: taken.append(logits.shape))
    monkeypatch.setattr(choice, "_chosen", lambda device: "cpu")
    sampling.sample(rows_of(2, 9), [None, None])
    assert taken == [(2, 9)]
    for logits in (rows_of(2, 9).double(), torch.randn(9, 2).T):
        ids, peaks = sampling.sample(logits, [None, None])
        assert ids.tolist() == logits.argmax(dim=1).tolist()
        assert peaks.tolist() == logits.amax(dim=1).tolist()
    assert len(taken) == 1


@isas
@settings(max_examples=20, deadline=None)
@given(
    vocab=st.sampled_from(VOCABS), rows=st.integers(1, 3), threads=st.integers(1, 3),
    odd=st.sampled_from([None, math.nan, math.inf, -math.inf]), seed=_SEEDS,
)  # fmt: skip
def test_the_most_likely_of_narrow_logits(isa, vocab, rows, threads, odd, seed):
    """As of the same logits widened: ties, NaN and infinities, among neighbours that do not count."""
    torch.manual_seed(seed)
    narrow = torch.full((rows, vocab + 3), math.nan, dtype=torch.bfloat16)
    narrow[:, :vocab] = torch.randn(rows, vocab)
    if odd is not None:
        narrow[seed % rows, seed % vocab] = odd
    expected = sample(isa, narrow[:, :vocab].float(), [None] * rows)
    ids, peaks = torch.full((rows,), -1), torch.full((rows,), 7.0)
    call = NarrowLogitsCall(
        logits=narrow.data_ptr(), ids=ids.data_ptr(), peaks=peaks.data_ptr(),
        rows=rows, vocab=vocab, stride=vocab + 3, threads=threads,
    )  # fmt: skip
    kernels = cpu_kernels.needed()
    with kernels.using(isa):
        kernels.call("ossia_most_likely", call)
    assert ids.tolist() == expected[0]
    np.testing.assert_array_equal(peaks.numpy(), np.array(expected[1], dtype=np.float32))

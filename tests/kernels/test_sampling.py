"""Sampling against the definition of each parameter, written out in numpy and float64."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ossia.kernels.sampling import (
    allow_only,
    draw,
    draw_greedy,
    penalise,
    token_logprobs,
    truncate,
)

_VOCAB = 23
_SEEDS = st.integers(0, 2**31)


def rows_of(seed: int, rows: int, vocab: int = _VOCAB, ties: bool = False) -> np.ndarray:
    """Logits as a model gives them; bfloat16 ones often tie."""
    logits = np.random.default_rng(seed).normal(scale=3.0, size=(rows, vocab))
    return np.round(logits) if ties else logits


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def define_truncation(logits, temperature, top_k, top_p, min_p) -> np.ndarray:
    """Probabilities after all filters, for one row."""
    scaled = logits / temperature
    if top_k:
        border = np.sort(scaled)[::-1][min(top_k, len(scaled)) - 1]
        scaled = np.where(scaled >= border, scaled, -np.inf)
    if top_p < 1:
        probs = softmax(scaled)
        ordered = np.sort(probs)[::-1]
        needed = next(
            count for count in range(1, len(ordered) + 1) if ordered[:count].sum() >= top_p
        )
        # Within rounding of the border the set may differ by one token: such cases are left out.
        assume(all(abs(ordered[:count].sum() - top_p) > 1e-9 for count in range(1, len(ordered))))
        scaled = np.where(probs >= ordered[needed - 1], scaled, -np.inf)
    if min_p:
        probs = softmax(scaled)
        assume(np.all(np.abs(probs - min_p * probs.max()) > 1e-12))
        scaled = np.where(probs >= min_p * probs.max(), scaled, -np.inf)
    return softmax(scaled)


_PARAMETERS = st.tuples(
    st.floats(0.05, 5.0),
    st.one_of(st.just(0), st.integers(1, 40)),
    st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    st.one_of(st.just(0.0), st.floats(0.01, 1.0)),
)


@given(seed=_SEEDS, parameters=st.lists(_PARAMETERS, min_size=1, max_size=4), ties=st.booleans())
@settings(deadline=None, max_examples=300)
def test_truncation_equals_its_definition(seed, parameters, ties):
    logits = rows_of(seed, len(parameters), ties=ties)
    expected = np.stack(
        [define_truncation(row, *values) for row, values in zip(logits, parameters, strict=True)]
    )
    temperature, top_k, top_p, min_p = zip(*parameters, strict=True)
    columns = [torch.tensor(column, dtype=torch.float64) for column in (temperature, top_p, min_p)]
    columns.insert(1, torch.tensor(top_k))
    kept = truncate(torch.tensor(logits), *columns)
    assert float(kept.amax(dim=-1).abs().max()) == 0
    np.testing.assert_allclose(kept.softmax(dim=-1).numpy(), expected, atol=1e-12)


@given(seed=_SEEDS, top_p=st.floats(0.05, 0.999), flat=st.booleans())
@settings(deadline=None, max_examples=25)
def test_top_p_over_a_vocabulary_larger_than_the_candidates(seed, top_p, flat):
    """Flat rows need more candidates than are looked at first, peaked ones fewer."""
    logits = rows_of(seed, 1, vocab=3000) * (0.05 if flat else 1.0)
    expected = define_truncation(logits[0], 1.0, 0, top_p, 0.0)
    kept = truncate(
        torch.tensor(np.concatenate([logits, logits])),
        torch.ones(2, dtype=torch.float64),
        torch.zeros(2, dtype=torch.int64),
        torch.tensor([top_p, 1.0], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
    np.testing.assert_allclose(kept[0].softmax(dim=-1).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(kept[1].softmax(dim=-1).numpy(), softmax(logits[0]), atol=1e-12)


def test_a_vanishing_temperature_is_greedy_not_nan():
    kept = truncate(
        torch.tensor([[1.0, 2.0, 1.5]]),
        torch.tensor([1e-45]),
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1),
        torch.zeros(1),
    )
    assert kept.softmax(dim=-1).tolist() == [[0.0, 1.0, 0.0]]


@given(
    seed=_SEEDS,
    repetition=st.floats(0.2, 5.0),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
    prompt=st.lists(st.integers(0, _VOCAB - 1), max_size=8),
    output=st.lists(st.integers(0, _VOCAB - 1), max_size=12),
)
@settings(deadline=None, max_examples=200)
def test_penalties_equal_their_definition(seed, repetition, presence, frequency, prompt, output):
    logits = rows_of(seed, 2)
    expected = logits[0].copy()
    for token_id in range(_VOCAB):
        if token_id in prompt or token_id in output:
            expected[token_id] *= 1 / repetition if expected[token_id] > 0 else repetition
        expected[token_id] -= presence * (token_id in output)
        expected[token_id] -= frequency * output.count(token_id)
    in_prompt = torch.zeros(2, _VOCAB, dtype=torch.bool)
    in_prompt[:, prompt] = True
    counts = torch.tensor([[output.count(idx) for idx in range(_VOCAB)]] * 2)
    penalised = penalise(
        torch.tensor(logits),
        in_prompt,
        counts.double(),
        torch.tensor([repetition, 1.0], dtype=torch.float64),
        torch.tensor([presence, 0.0], dtype=torch.float64),
        torch.tensor([frequency, 0.0], dtype=torch.float64),
    )
    np.testing.assert_allclose(penalised[0].numpy(), expected, atol=1e-12)
    np.testing.assert_array_equal(penalised[1].numpy(), logits[1])


@given(seed=_SEEDS, allowed=st.sets(st.integers(0, _VOCAB - 1)))
@settings(deadline=None)
def test_allow_only_keeps_the_set_and_nothing_else(seed, allowed):
    bits = np.zeros((1, 3), dtype=np.uint8)
    for token_id in allowed:
        bits[0, token_id // 8] |= 1 << token_id % 8
    logits = rows_of(seed, 1)
    expected = [row if idx in allowed else -np.inf for idx, row in enumerate(logits[0])]
    kept = torch.tensor(logits)
    allow_only(kept, list(range(len(bits))), torch.tensor(bits))
    assert kept[0].tolist() == expected


@given(
    seed=_SEEDS,
    numbers=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5),
    cut=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_draw_inverts_the_distribution_function(seed, numbers, cut):
    logits = rows_of(seed, len(numbers))
    if cut:
        logits[:, ::2] = -np.inf
    drawn = draw(torch.tensor(logits), torch.tensor(numbers, dtype=torch.float64)).tolist()
    for row, number, token_id in zip(logits, numbers, drawn, strict=True):
        cumulated = np.cumsum(softmax(row))
        assert np.isfinite(row[token_id]), "drew a token that was ruled out"
        below = cumulated[token_id - 1] if token_id else 0.0
        assert below - 1e-12 <= number <= cumulated[token_id] + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_unit_interval_draw_the_ends_of_what_is_allowed(dtype):
    logits = torch.full((2, 9), -torch.inf, dtype=dtype)
    logits[:, 2:7] = torch.linspace(-3, 3, 5, dtype=dtype)
    uniform = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw(logits, uniform).tolist() == [2, 6]


def test_draws_follow_the_distribution():
    """Chi-square over 20,000 draws; the limit is the 99.9 % quantile for 22 degrees of freedom."""
    logits = rows_of(5, 1) / 3
    numbers = torch.from_numpy(np.random.default_rng(1).random(20_000))
    drawn = draw(torch.tensor(logits).expand(20_000, -1), numbers)
    observed = np.bincount(drawn.numpy(), minlength=_VOCAB)
    expected = 20_000 * softmax(logits[0])
    assert ((observed - expected) ** 2 / expected).sum() < 48.27


def test_greedy_takes_the_lowest_id_among_equals():
    logits = torch.zeros(3, 70_000)
    logits[0, [30_000, 60_000]] = 2.0
    logits[1, [69_999, 123]] = 2.0
    assert draw_greedy(logits).tolist() == [30_000, 123, 0]


@given(seed=_SEEDS, token_id=st.integers(0, _VOCAB - 1), num_top=st.integers(0, _VOCAB))
@settings(deadline=None)
def test_logprobs_equal_their_definition(seed, token_id, num_top):
    logits = rows_of(seed, 1)
    expected = np.log(softmax(logits[0]))
    chosen, top, top_ids = token_logprobs(torch.tensor(logits), torch.tensor([token_id]), num_top)
    np.testing.assert_allclose(float(chosen), expected[token_id], atol=1e-12)
    order = np.argsort(-expected)[:num_top]
    assert top_ids[0].tolist() == order.tolist()
    np.testing.assert_allclose(top[0].numpy(), expected[order], atol=1e-12)

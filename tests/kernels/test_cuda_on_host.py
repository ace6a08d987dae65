"""Kernels of CUDA that need no tensor cores, on the host: what they find, not how fast."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossia.engine.randomness import uniform
from ossia.kernels.decode.arguments import Dispatch, Draw
from ossia.kernels.decode.draw import Chance, chances, of_sets
from ossia.kernels.routing import route
from support.draws import check_draws, packed
from support.host_cuda import on_the_host

DRAWS = """
extern "C" double uniform(u64 seed, u64 continuation, u64 position) { return uniform_of(seed, continuation, position); }
extern "C" void run(const Draw* a) {
  host::run(weigh, {a->slices, a->tokens, 1}, WEIGHERS, *a);
  host::run(draw, {a->tokens, 1, 1}, DRAWERS, *a);
}
"""
CHOICES = """
extern "C" void run(const Dispatch* a, u32 choosing, u32 threads) {
  Dispatch now = *a;
  if (choosing) host::run(choose, {choosing, 1, 1}, 64, now), now.logits = nullptr;
  host::run(dispatch, {1, 1, 1}, threads, now);
}
"""


@pytest.fixture(scope="module")
def draws(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    kernels = on_the_host("draw.cu", DRAWS, tmp_path_factory.mktemp("draw"))
    kernels.uniform.restype = ctypes.c_double
    return kernels


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return on_the_host("dispatch.cu", CHOICES, tmp_path_factory.mktemp("dispatch"))


class _Draws:
    """Rows of logits and what a draw from them leaves.

    Args:
        kernels: Compiled from draw.cu.
        logits: float32 (rows, vocab).
        end: Of the valid ids.
        rows: How each is drawn.
        slices: Blocks of a row.
        sets: bool (any number, end), whose ids alone may come.
        chosen: Which of them, of each row.
        uniforms: float64 (rows,), the numbers that draw; None hashes them.
    """

    def __init__(
        self,
        kernels: ctypes.CDLL,
        logits: torch.Tensor,
        end: int,
        rows: list[Chance],
        slices: int,
        sets: torch.Tensor | None = None,
        chosen: Sequence[int | None] = (),
        uniforms: torch.Tensor | None = None,
    ) -> None:
        self.kernels, self.logits, self.end, self.slices = kernels, logits, end, slices
        self.uniforms = uniforms
        told = chances(rows)
        self.chances = torch.from_numpy(of_sets(told, chosen) if chosen else told)
        self.sets = packed(torch.zeros(1, end) if sets is None else sets)
        count = len(rows)
        self.best = torch.full((count, slices), -1, dtype=torch.int64)
        self.weights = torch.full((count, slices), torch.nan, dtype=torch.float64)
        self.ids = torch.full((count,), -7, dtype=torch.int32)
        self.out = torch.full((2, 2, count), -5, dtype=torch.int32)

    def run(self, positions: torch.Tensor) -> list[int]:
        given = {
            "chances": self.chances,
            "best": self.best,
            "weights": self.weights,
            "sets": self.sets,
        }
        given |= {"logits": self.logits, "ids": self.ids, "positions": positions, "out": self.out}
        addresses = {name: tensor.data_ptr() for name, tensor in given.items()}
        addresses["uniforms"] = None if self.uniforms is None else self.uniforms.data_ptr()
        rows, vocab = self.logits.shape
        sizes = {"tokens": rows, "vocab": vocab, "end": self.end, "slices": self.slices}
        arguments = Draw(**addresses, **sizes, set_bytes=self.sets.shape[1])
        self.kernels.run(ctypes.byref(arguments))
        return self.ids.tolist()


@pytest.mark.parametrize(
    ("rows", "vocab", "end", "slices", "spread"),
    [(4, 3000, 2800, 8, 1.0), (4, 900, 850, 3, 6.0), (3, 77, 50, 20, 2.0), (4, 1, 1, 2, 1.0)],
)
def test_draw(draws, rows, vocab, end, slices, spread):
    """Weights added up to the id that is drawn pass the row's number, and those before it do not."""
    logits = (torch.randn(rows, vocab) * spread).bfloat16().float()
    logits[:, end:] = 100
    if end > 4:
        logits[::3, : end // 2] = -torch.inf  # whole slices without a weight
        logits[0, :end], logits[0, end // 3] = -torch.inf, -4.0
    how = [Chance(7**row, row % 3, row - 2, (1.0, 0.3, 0.0, 2.5)[row]) for row in range(rows)]
    case = _Draws(draws, logits, end, how, slices)
    for turn in range(2):
        positions = torch.arange(rows, dtype=torch.int32) + turn
        ids = case.run(positions)
        assert positions.tolist() == [row + turn + 1 for row in range(rows)]
        parity, all_rows = (torch.arange(rows) + turn) & 1, torch.arange(rows)
        assert case.out[parity, 0, all_rows].tolist() == ids
        valid = logits[:, :end]
        assert torch.equal(case.out.view(torch.float32)[parity, 1, all_rows], valid.amax(1))
        numbers = [uniform(7**row, row % 3, turn + 2) for row in all_rows.tolist()]
        check_draws(valid, ids, how, numbers)


def test_numbers_that_are_given(draws):
    logits = torch.randn(5, 300)
    numbers = torch.tensor([0.0, 0.0, 1 - 2**-53, 1 - 2**-53, 0.6], dtype=torch.float64)
    how = [Chance(0, 0, 0, 1.0, top_p=(1.0, 0.7)[row % 2]) for row in range(5)]
    case = _Draws(draws, logits, 300, how, 4, uniforms=numbers)
    ids = case.run(torch.zeros(5, dtype=torch.int32))
    check_draws(logits, ids, how, numbers.tolist())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_no_number_is_told(draws, temperature):
    logits = torch.randn(2, 300)
    logits[0, 7] = torch.nan
    logits.view(torch.int32)[1, 299] = -1  # NaN with a sign
    case = _Draws(draws, logits, 300, [Chance(0, 0, 0, temperature)] * 2, 4)
    case.run(torch.zeros(2, dtype=torch.int32))
    assert case.out.view(torch.float32)[0, 1].isnan().all()


LIKELY = [
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": 10**12},
    {"top_p": 0.9},
    {"top_p": 1e-9},
    {"top_p": 0.999999},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 300, "top_p": 0.8},
    {"top_k": 20, "top_p": 0.5, "min_p": 0.1},
    {"top_p": 0.7, "min_p": 0.01},
    {},
]


@pytest.mark.parametrize(
    ("vocab", "end", "slices", "spread"),
    [
        (2000, 1900, 8, 1.0),
        (2000, 2000, 3, 8.0),
        (77, 50, 20, 0.01),
        (900, 900, 4, 200.0),
        (1000, 997, 5, 1.0),
        (999, 990, 9, 3.0),
    ],
)
def test_draw_of_the_likely(draws, vocab, end, slices, spread):
    """Top-k, then top-p, then min-p, also of a set's ids alone, and with equals at the border."""
    count = len(LIKELY)
    logits = (torch.randn(count, vocab) * spread).bfloat16().float()
    logits[::4] = logits[::4].round()
    logits[:, end:] = 1e4
    how = [
        Chance(7**row, row % 3, row, (0.7, 1.0, 1.6)[row % 3], **likely)
        for row, likely in enumerate(LIKELY)
    ]
    sets = torch.rand(3, end) < 0.7
    chosen = [(None, 0, None, 2, 1)[row % 5] for row in range(count)]
    case = _Draws(draws, logits, end, how, slices, sets, chosen)
    ids = case.run(torch.arange(count, dtype=torch.int32))
    valid = logits[:, :end].clone()
    for row, one in enumerate(chosen):
        if one is not None:
            valid[row, ~sets[one]] = -torch.inf
    numbers = [uniform(7**row, row % 3, 0) for row in range(count)]
    check_draws(valid, ids, how, numbers)
    parity, rows = torch.arange(count) & 1, torch.arange(count)
    assert torch.equal(case.out.view(torch.float32)[parity, 1, rows], valid.amax(1))


@pytest.mark.parametrize(("vocab", "end"), [(1000, 903), (1003, 998), (640, 17)])
def test_where_a_row_is_cut_does_not_depend_on_the_end(draws, vocab, end):
    """So what is drawn from valid ids is, bit for bit, what is drawn from all with the others ruled out."""
    some = LIKELY[1::2]
    logits = torch.randn(len(some), vocab) * 2
    how = [Chance(9**row, 0, 0, 1.0, **likely) for row, likely in enumerate(some)]
    positions = torch.zeros(len(some), dtype=torch.int32)
    cut = _Draws(draws, logits, end, how, 7)
    ids = cut.run(positions.clone())
    ruled_out = logits.clone()
    ruled_out[:, end:] = -torch.inf
    whole = _Draws(draws, ruled_out, vocab, how, 7)
    assert whole.run(positions.clone()) == ids
    assert torch.equal(whole.weights, cut.weights)
    assert torch.equal(whole.out, cut.out)


@given(st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_may_be_drawn_is_what_the_sampler_keeps(draws, data):
    """Of one row, by an even number: what comes is kept by `truncate`, and the least likely of it comes."""
    end = data.draw(st.integers(1, 300))
    values = st.floats(-30, 30, width=16)
    row = data.draw(st.lists(values, min_size=end, max_size=end))
    top_k = data.draw(st.sampled_from([0, 1, 2, end // 2 + 1, end]))
    top_p, min_p = data.draw(st.sampled_from([(1.0, 0.0), (0.5, 0.0), (0.95, 0.0), (1.0, 0.2)]))
    logits = torch.tensor([row])
    chance = Chance(data.draw(st.integers(0, 2**63 - 1)), 0, 0, 1.0, top_k, top_p, min_p)
    ids = _Draws(draws, logits, end, [chance], 4).run(torch.zeros(1, dtype=torch.int32))
    check_draws(logits, ids, [chance], [uniform(chance.seed, 0, 0)])


def test_a_set_of_nothing(draws):
    """An id all the same, and the largest logit that says why."""
    sets = torch.zeros(1, 90)
    how = [Chance(1, 0, 0, temperature) for temperature in (0.0, 1.0)]
    case = _Draws(draws, torch.zeros(2, 100), 90, how, 3, sets, [0, 0])
    assert all(0 <= one < 90 for one in case.run(torch.tensor([4, 6], dtype=torch.int32)))
    assert (case.out.view(torch.float32)[0, 1] == -torch.inf).all()


def test_draw_from_what_cannot_be_drawn_from(draws):
    """An id all the same, and the largest logit that says why; rows at no position leave nothing."""
    logits = torch.zeros(5, 100)
    logits[0, 3], logits[1], logits[2, 5], logits[3, 40] = (
        torch.nan,
        -torch.inf,
        torch.inf,
        -torch.nan,
    )
    how = [Chance(row, 0, 0, 1.0, row * 7, 1 - row / 9) for row in range(5)]
    case = _Draws(draws, logits, 90, how, 3)
    ids = case.run(torch.tensor([4, 6, 8, 2, -1], dtype=torch.int32))
    assert all(0 <= one < 90 for one in ids[:4])
    largest = case.out.view(torch.float32)[0, 1]
    assert largest[[0, 3]].isnan().all()
    assert largest[1] == -torch.inf
    assert largest[2] == torch.inf
    assert ids[4] == -7
    assert (case.out[:, :, 4] == -5).all()


@given(st.tuples(*[st.integers(0, 2**63 - 1)] * 3))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_hash_of_draws_is_the_host_s(draws, arguments):
    assert draws.uniform(*map(ctypes.c_uint64, arguments)) == uniform(*arguments)


@pytest.mark.parametrize(
    ("tokens", "experts", "top_k", "width", "threads"),
    [(1, 4, 2, 8, 64), (33, 5, 1, 8, 64), (40, 40, 8, 24, 96), (70, 200, 4, 24, 256)],
)
@pytest.mark.parametrize("choosing", [0, 2])
def test_slots_are_sorted_and_cut(choices, tokens, experts, top_k, width, threads, choosing):
    logits = torch.rand(tokens, experts).argsort(1).float() / 16
    positions = torch.arange(tokens, dtype=torch.int32)
    positions[2::7] = -1
    count = tokens * top_k
    ids, order = torch.full((2, count), 2**30, dtype=torch.int32)
    items = torch.full((min(experts, count) + count // width, 4), 2**30, dtype=torch.int32)
    found, weights = torch.full((1,), 9, dtype=torch.int32), torch.full((count,), torch.nan)
    given = {
        "logits": logits,
        "positions": positions,
        "ids": ids,
        "weights": weights,
        "slots": order,
    }
    addresses = {name: tensor.data_ptr() for name, tensor in given.items()}
    arguments = Dispatch(
        **addresses, items=items.data_ptr(), num_items=found.data_ptr(), tokens=tokens, experts=experts,
        top_k=top_k, width=width, scale=1.0,
    )  # fmt: skip
    choices.run(ctypes.byref(arguments), choosing, threads)
    expected, expert_ids = route(logits.bfloat16(), top_k)
    present = positions >= 0
    assert torch.equal(ids.view(tokens, top_k)[present], expert_ids[present].int())
    assert (weights.view(tokens, top_k)[present] - expected[present].float()).abs().max() < 4e-3
    taken: list[int] = []
    expert_of, slots, there = expert_ids.flatten().tolist(), order.tolist(), present.tolist()
    for expert, first, number, _ in items[: int(found)].tolist():
        assert 0 < number <= width
        assert first == len(taken)
        taken += slots[first : first + number]
        assert all(expert_of[slot] == expert for slot in taken[first:])
    assert sorted(taken) == [slot for slot in range(count) if there[slot // top_k]]

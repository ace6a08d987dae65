"""Kernels of CUDA that need no tensor cores, on the host: what they find, not how fast."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossia.engine.randomness import uniform
from ossia.kernels.decode.arguments import Dispatch, Draw
from ossia.kernels.decode.draw import chances
from ossia.kernels.routing import route
from support.draws import check_draws
from support.host_cuda import on_the_host

DRAWS = """
extern "C" double uniform(u64 seed, u64 continuation, u64 position) { return uniform_of(seed, continuation, position); }
extern "C" void run(const Draw* a, u32 slices) { host::run(draw, {slices, a->tokens, 1}, THREADS, *a); }
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
        temperatures: Of the rows; 0 takes the most likely token.
        slices: Blocks of a row.
    """

    def __init__(
        self,
        kernels: ctypes.CDLL,
        logits: torch.Tensor,
        end: int,
        temperatures: list[float],
        slices: int,
    ) -> None:
        rows = len(logits)
        self.kernels, self.logits, self.end, self.slices = kernels, logits, end, slices
        numbers = range(rows)
        given = chances(
            [7**row for row in numbers],
            [row % 3 for row in numbers],
            [row - 2 for row in numbers],
            temperatures,
        )
        self.chances = torch.from_numpy(given)
        self.best = torch.full((rows, slices), -1, dtype=torch.int64)
        self.weights = torch.full((rows, slices), torch.nan, dtype=torch.float64)
        self.uniforms = torch.full((rows,), torch.nan, dtype=torch.float64)
        self.arrivals = torch.zeros(rows, dtype=torch.int32)
        self.ids = torch.full((rows,), -7, dtype=torch.int32)
        self.out = torch.full((2, 2, rows), -5, dtype=torch.int32)

    def run(self, positions: torch.Tensor) -> list[int]:
        given = {
            "chances": self.chances,
            "best": self.best,
            "weights": self.weights,
            "arrivals": self.arrivals,
            "uniforms": self.uniforms,
        }
        given |= {"logits": self.logits, "ids": self.ids, "positions": positions, "out": self.out}
        addresses = {name: tensor.data_ptr() for name, tensor in given.items()}
        rows, vocab = self.logits.shape
        self.kernels.run(
            ctypes.byref(Draw(**addresses, tokens=rows, vocab=vocab, end=self.end)), self.slices
        )
        assert not self.arrivals.any()
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
    temperatures = [(1.0, 0.3, 0.0, 2.5)[row] for row in range(rows)]
    case = _Draws(draws, logits, end, temperatures, slices)
    for turn in range(2):
        positions = torch.arange(rows, dtype=torch.int32) + turn
        ids = case.run(positions)
        assert positions.tolist() == [row + turn + 1 for row in range(rows)]
        parity, all_rows = (torch.arange(rows) + turn) & 1, torch.arange(rows)
        assert case.out[parity, 0, all_rows].tolist() == ids
        valid = logits[:, :end]
        assert torch.equal(case.out.view(torch.float32)[parity, 1, all_rows], valid.amax(1))
        check_draws(
            valid,
            ids,
            temperatures,
            [uniform(7**row, row % 3, turn + 2) for row in all_rows.tolist()],
        )


def test_draw_from_what_cannot_be_drawn_from(draws):
    """An id all the same, and the largest logit that says why; rows at no position leave nothing."""
    logits = torch.zeros(5, 100)
    logits[0, 3], logits[1], logits[2, 5], logits[3, 40] = (
        torch.nan,
        -torch.inf,
        torch.inf,
        -torch.nan,
    )
    case = _Draws(draws, logits, 90, [1.0] * 5, 3)
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

"""Sampling by the kernels that draw at the end of a step, on a GPU."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels.decode.draw import Chance
from ossia.kernels.sampling import Drawing, sample, samples_row_by_row
from ossia.kernels.sampling.choice import _taken_by_cuda
from support.draws import check_draws

pytestmark = pytest.mark.gpu

_HOW = [
    None,
    {"temperature": 1.0},
    {"temperature": 0.4, "top_p": 0.9},
    {"temperature": 2.0, "top_k": 20},
    {"temperature": 1e-9, "min_p": 0.2},
    {"temperature": 1.3, "top_k": 300, "top_p": 0.6, "min_p": 0.01},
]


def _drawing(how: dict | None, uniform: float) -> Drawing | None:
    everything = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "uniform": uniform}
    return None if how is None else Drawing(**everything | how)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 65, 512])
@pytest.mark.parametrize("vocab", [201_088, 1001, 1])
@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_sample(rows, vocab, spread):
    """Weights added up to the id that is drawn pass the row's number, and those before it do not."""
    logits = torch.randn(rows, vocab, device="cuda") * spread
    logits[::2, vocab // 3 + 1 : vocab // 2] = -torch.inf
    given = logits.clone()
    assert _taken_by_cuda(logits)
    numbers = torch.rand(rows, dtype=torch.float64).tolist()
    how = [_HOW[row % len(_HOW)] for row in range(rows)]
    ids, peaks = sample(logits, [_drawing(*one) for one in zip(how, numbers, strict=True)])
    assert torch.equal(logits, given)
    assert torch.equal(peaks, logits.amax(1))
    assert ids.dtype is torch.int64
    some = torch.randperm(rows)[:24].tolist()
    chances = [Chance(0, 0, 0, **(how[row] or {"temperature": 0.0})) for row in some]  # pyright: ignore[reportArgumentType]
    check_draws(logits[some], ids[some].tolist(), chances, [numbers[row] for row in some])


def test_what_is_left_to_torch():
    logits = torch.randn(4, 1032, device="cuda")
    assert _taken_by_cuda(logits)
    others = [logits.double(), logits[:, :1000], logits[:0], logits.cpu(), logits.bfloat16()]
    others.append(logits.view(-1)[1:1001].view(1, 1000))  # not where four are loaded at once
    for other in others:
        assert not _taken_by_cuda(other)
        ids, _ = sample(other, [None] * len(other))
        assert ids.tolist() == other.argmax(1).tolist()


@pytest.mark.parametrize("how", _HOW)
def test_what_is_no_number_is_told(how):
    logits = torch.randn(4, 1000, device="cuda")
    logits[0, 17] = torch.nan
    logits.view(torch.int32)[1, 999] = -1  # NaN with a sign
    logits[2] = -torch.inf
    logits[3, 5] = torch.inf
    peaks = sample(logits, [_drawing(how, 0.5)] * 4)[1].tolist()
    assert str(peaks) == "[nan, nan, -inf, inf]"


def test_a_row_does_not_depend_on_the_others():
    logits = torch.randn(64, 201_088, device="cuda")
    drawings = [_drawing({"temperature": 1.0, "top_p": 0.95}, row / 64) for row in range(64)]
    together = sample(logits, drawings)[0]
    order = torch.randperm(64)
    mixed = sample(logits[order.cuda()], [drawings[row] for row in order])[0]
    assert torch.equal(mixed, together[order.cuda()])


@pytest.mark.parametrize("vocab", [201_088, 33])
def test_how_many_rows_there_are_plays_no_part(vocab):
    logits = torch.randn(512, vocab, device="cuda")
    how = [_HOW[row % len(_HOW)] for row in range(512)]
    numbers = torch.rand(512, dtype=torch.float64).tolist()
    drawings = [_drawing(*one) for one in zip(how, numbers, strict=True)]
    assert samples_row_by_row(logits)
    together = sample(logits, drawings, evenly=True)[0]
    for some in (range(1), range(7, 9), range(3, 103)):
        ids = sample(logits[some.start : some.stop], drawings[some.start : some.stop], evenly=True)[
            0
        ]
        assert torch.equal(ids, together[some.start : some.stop])

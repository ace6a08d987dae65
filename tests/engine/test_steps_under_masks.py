"""Steps ahead under masks: what is asked when, and which draws stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ossia.engine.fast_decode import FastDecode
from ossia.engine.plan import Drawn, PlanEntry, StepPlan
from ossia.engine.randomness import uniform
from ossia.engine.sampler import Sampler
from ossia.engine.sequence import Sequence
from ossia.model.decode_step import MAX_ROWS
from ossia.types import TokenMask
from support.noted_steps import a_sequence, with_logits


class _Mask:
    """Allows all ids but some at some turns, and notes what comes."""

    def __init__(self, forbidden: dict[int, set[int]] | None = None) -> None:
        self.forbidden, self.accepted, self.asked = forbidden or {}, [], 0

    def allowed(self) -> bytes | None:
        self.asked += 1
        forbidden = self.forbidden.get(len(self.accepted))
        if forbidden is None:
            return None
        bits = sum(1 << id_ for id_ in range(MAX_ROWS) if id_ not in forbidden)
        return bits.to_bytes(MAX_ROWS // 8, "little")

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


def _masked(name: int, mask: TokenMask, **sampling: Any) -> Sequence:
    sequence = a_sequence(name, **sampling)
    sequence.request = replace(sequence.request, make_mask=lambda _: mask)
    return sequence


def _draw(fast: FastDecode, sequences: list[Sequence], sampler: Sampler) -> list[Drawn]:
    plan = StepPlan([PlanEntry(sequence, 1, (sequence,)) for sequence in sequences])
    drawn = fast.execute(plan, sampler).drawn
    for sequence, one in zip(sequences, drawn, strict=True):
        sequence.token_ids.append(-1 if one.token_id is None else one.token_id)
        sequence.num_computed += 1
    return drawn


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_masks_are_asked_of_what_was_drawn(fast, temperature):
    """Once for each token; while they allow it, steps go ahead."""
    mask, sampler = _Mask({1: {50}, 2: set()}), Sampler(torch.device("cpu"))
    sequences = [_masked(0, mask, temperature=temperature), a_sequence(1)]
    for turn in range(5):
        assert [one.token_id for one in _draw(fast, sequences, sampler)] == [2 + turn] * 2
    assert mask.accepted == [2, 3, 4, 5, 6]
    assert mask.asked == 5
    step: Any = fast._step
    assert [given for given, *_ in step.runs] == [True] + [False] * 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_a_mask_refuses_is_drawn_anew_from_the_same_step(fast, temperature):
    """The others keep theirs; the step ahead is forgotten, and some tokens are drawn by asking first."""
    mask, sampler = _Mask({1: {3}}), Sampler(torch.device("cpu"))
    sequences = [_masked(0, mask, temperature=temperature), a_sequence(1)]
    fast._step.run = with_logits(fast._step.run, second=9)
    step: Any = fast._step
    assert [one.token_id for one in _draw(fast, sequences, sampler)] == [2, 2]
    assert step.runs == [(True, [2, 2], 2), (False, [3, 3], 2)]
    assert [one.token_id for one in _draw(fast, sequences, sampler)] == [9, 3]
    # One step ahead of the answer, and the same one again, for its logits.
    assert step.runs[2:] == [(False, [4, 4], 2), (True, [3, 3], 2)]
    assert step.chances[3] is None
    assert mask.accepted == [2, 9]
    assert mask.asked == 2
    before = len(step.runs)
    for turn in range(7):
        assert [one.token_id for one in _draw(fast, sequences, sampler)] == [4 + turn] * 2
    assert [given for given, *_ in step.runs[before:]] == [True] * 7
    _draw(fast, sequences, sampler)
    assert [given for given, *_ in step.runs[before + 7 :]] == [True, False]
    assert mask.asked == len(mask.accepted) == 10


def test_a_mask_that_fails_ends_its_continuation_only(fast):
    class _Fails(_Mask):
        def allowed(self) -> bytes | None:
            raise KeyError("allowed")

    class _Refuses(_Mask):
        def accept(self, token_id: int) -> None:
            raise KeyError(token_id)

    sampler = Sampler(torch.device("cpu"))
    sequences = [_masked(0, _Fails()), _masked(1, _Refuses()), a_sequence(2)]
    fast._step.run = with_logits(fast._step.run)
    first, second, third = _draw(fast, sequences, sampler)
    assert first.error == "the token mask failed: KeyError('allowed')"
    assert second.error == "the token mask failed: KeyError(2)"
    assert third.token_id == 2


def test_what_is_drawn_anew_comes_as_often_as_it_should():
    """From the allowed ids by their weights, whether the first draw was kept or refused."""
    logits = torch.tensor([[1.0, 2.0, 0.0, 0.5]])
    allowed = torch.tensor([1.0, 0.0, 1.0, 1.0])
    sampler, counts, seeds = Sampler(torch.device("cpu")), torch.zeros(4), 4000
    for seed in range(seeds):
        sequence = _masked(0, _Mask({0: {1}}), temperature=1.0)
        sequence.seed = seed
        number = uniform(seed, 0, 0)
        first = int((logits[0].softmax(0).cumsum(0) > number).nonzero()[0])
        drawn = [Drawn(first)]
        if sampler.refused([sequence], drawn, [None]):
            drawn = sampler.sample(logits.repeat(1, 1).clone(), [sequence], again=True)
        sampler.release(sequence)
        assert drawn[0].token_id is not None
        counts[drawn[0].token_id] += 1
    expected = logits[0].exp() * allowed / (logits[0].exp() * allowed).sum()
    assert float((counts / seeds - expected).abs().max()) < 0.03


class _Places:
    """Says at each turn which ids may come, as a set that is made anew."""

    def __init__(self, *allowed: set[int] | None) -> None:
        self.turns, self.accepted, self.asked = allowed, [], 0

    def allowed(self) -> bytes | None:
        self.asked += 1
        ids = self.turns[len(self.accepted)]
        return None if ids is None else _bits(ids)

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


def _bits(ids: set[int]) -> bytes:
    return sum(1 << id_ for id_ in ids).to_bytes(MAX_ROWS // 8, "little")


def _sets_drawn_from(step: Any) -> list[list[set[int] | None] | None]:
    """Of each run and row; None for a run that draws nothing by chance."""
    found: list[list[set[int] | None] | None] = []
    for rows in step.chances:
        sets = [None if row[-1] == 0 else step.sets.table[row[-1] - 1] for row in rows or ()]
        told = [
            None if one is None else int.from_bytes(bytes(one.tolist()), "little") for one in sets
        ]
        ids = [
            None if one is None else {id_ for id_ in range(MAX_ROWS) if one >> id_ & 1}
            for one in told
        ]
        found.append(None if rows is None else ids)
    return found


def test_the_likely_ones_of_a_set_are_drawn_ahead_once_it_has_come_twice(fast):
    """The mask is asked first until then, and behind the step from then on; it has to name the set that was drawn from."""
    every = set(range(2, 40))
    mask, sampler = _Places(*[every] * 9), Sampler(torch.device("cpu"))
    sequences = [_masked(0, mask, temperature=1.0, top_p=0.9), a_sequence(1, temperature=1.0)]
    fast._step.run = with_logits(fast._step.run)
    step: Any = fast._step
    for turn in range(6):
        assert [one.token_id for one in _draw(fast, sequences, sampler)] == [2 + turn] * 2
    assert _sets_drawn_from(step) == [[every, None]] * 7
    assert [given for given, *_ in step.runs] == [True] * 2 + [False] * 5
    assert mask.asked == len(mask.accepted) == 6


@pytest.mark.parametrize("then", [None, {9, 90}, set(range(90))])
def test_what_was_drawn_from_another_set_is_drawn_anew(fast, then):
    """Though the token is in both: which ones are likely is another matter in each. The number stays."""
    every = set(range(2, 40))
    mask, sampler = (
        _Places(every, every, every, then, then, then, then),
        Sampler(torch.device("cpu")),
    )
    sequence = _masked(0, mask, temperature=1.0, min_p=0.1)
    fast._step.run = with_logits(fast._step.run, second=9)
    step: Any = fast._step
    ids = [_draw(fast, [sequence], sampler)[0].token_id for _ in range(6)]
    behind = 9 if then == {9, 90} else None
    assert ids == [2, 3, 4, behind or 5, behind or 6, behind or 7]
    # Two by asking first and two ahead, the second of which is drawn anew, one more in vain; one by asking first, and ahead
    # again.
    sets = _sets_drawn_from(step)
    assert sets == [[every]] * 5 + [None] + [[then]] * 3
    assert [given for given, *_ in step.runs] == [True] * 2 + [False] * 3 + [True] * 2 + [False] * 2
    assert mask.asked == len(mask.accepted) == 6


def test_sets_that_seldom_come_again_are_asked_for_first(fast):
    class _Views(_Places):
        def allowed(self) -> Any:
            return memoryview(super().allowed() or b"")

    every = set(range(2, 40))
    mask, sampler = _Views(*[every] * 9), Sampler(torch.device("cpu"))
    sequence = _masked(0, mask, temperature=1.0, top_k=3)
    fast._step.run = with_logits(fast._step.run)
    for _ in range(4):
        _draw(fast, [sequence], sampler)
    assert _sets_drawn_from(fast._step) == [[every]] * 4
    assert [given for given, *_ in fast._step.runs] == [True] * 4  # type: ignore[attr-defined]
    assert mask.asked == len(mask.accepted) == 4


def test_a_set_without_a_place_is_not_counted_on(fast, monkeypatch):
    """The step draws from all then, so what it says does not stand."""
    every = set(range(2, 40))
    mask, sampler = _Places(*[every] * 9), Sampler(torch.device("cpu"))
    sequence = _masked(0, mask, temperature=1.0, top_k=3)
    fast._step.run = with_logits(fast._step.run)
    monkeypatch.setattr(fast._step.sets, "places", lambda sets: [None] * len(sets))
    assert [_draw(fast, [sequence], sampler)[0].token_id for _ in range(4)] == [2, 3, 4, 5]
    assert mask.asked == len(mask.accepted) == 4


def test_refused_draws_keep_their_number_where_it_did_not_matter():
    """So a seed gives the same token whether the mask was asked before the draw or after it."""
    logits, sampler = torch.randn(1, MAX_ROWS), Sampler(torch.device("cpu"))
    for seed in range(40):
        tokens = []
        for asked_first in (True, False):
            sequence = _masked(0, _Places(set(range(50))), temperature=1.0, top_p=0.8)
            sequence.seed = seed
            if not asked_first:
                assert sampler.refused([sequence], [Drawn(0)], [_bits({0, 1})]) == [0]
            [drawn] = sampler.sample(logits.clone(), [sequence], again=not asked_first)
            tokens.append(drawn.token_id)
            sampler.release(sequence)
        assert tokens[0] == tokens[1]


def test_tokens_behind_a_refused_one_are_drawn_from_what_the_mask_names_first(fast):
    """By the step, also where the most likely one is asked for; a mask that fails ends its continuation only."""

    class _Fails(_Mask):
        def allowed(self) -> bytes | None:
            if len(self.accepted) == 2:
                raise KeyError("allowed")
            return super().allowed()

    mask, failing = _Mask({0: {2}, 1: {3}, 2: {4}}), _Fails()
    sampler = Sampler(torch.device("cpu"))
    sequences = [_masked(0, mask), _masked(1, failing, temperature=1.0), a_sequence(2)]
    fast._step.run = with_logits(fast._step.run, second=9)
    step: Any = fast._step
    ids = [[one.token_id for one in _draw(fast, sequences, sampler)] for _ in range(2)]
    assert ids == [[9, 2, 2], [0, 3, 3]]  # the lowest of its set is what this step makes of a set
    # One ahead in vain, the first once more, and then none ahead.
    assert [given for given, *_ in step.runs] == [True, False, True, True]
    assert _sets_drawn_from(step)[3] == [set(range(MAX_ROWS)) - {3}, None, None]
    drawn = _draw(fast, sequences, sampler)
    assert [one.token_id for one in drawn] == [0, None, 4]
    assert drawn[1].error == "the token mask failed: KeyError('allowed')"
    assert mask.accepted == [9, 0, 0]
    assert mask.asked == 3


def test_steps_alike_draw_greedily_from_sets_that_are_asked_first(make):
    """By chance under masks they do not: what `sample` asks first would have another number than what is refused."""
    fast, sampler = make(8, alike=True), Sampler(torch.device("cpu"), 8)
    mask = _Mask({0: {2}, 1: {3}})
    fast._step.run = with_logits(fast._step.run, second=9)
    sequence = _masked(0, mask)
    assert [_draw(fast, [sequence], sampler)[0].token_id for _ in range(2)] == [9, 0]
    places = [None if one is None else one[0][-1] for one in fast._step.chances]  # type: ignore[attr-defined]
    assert places == [None, None, None, 1], "one, its next, its logits; then from the set"

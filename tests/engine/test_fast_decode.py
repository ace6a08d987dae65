"""Steps ahead on the CPU: which of them are believed, over a step that only notes how it is run."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ossia.cache.sequence_pages import SequencePages
from ossia.engine import fast_decode
from ossia.engine.fast_decode import FastDecode
from ossia.engine.plan import Drawn, PlanEntry, StepPlan
from ossia.engine.randomness import uniform
from ossia.engine.sampler import Sampler
from ossia.engine.sequence import Sequence
from ossia.kernels.decode.draw import CHANCE_NUMBERS, Chance, chances, within
from ossia.model.decode_step import MAX_ROWS, DecodeStep, StepOutput
from ossia.model.token_sets import TokenSets
from ossia.types import Request, SamplingParams

PAGE = 4
_CHANCE = "<QIifIffI"


class _Step:
    """Draws the position of each row, or the lowest id of a set without it; `runs` says whether ids were given, and for
    which positions."""

    size_for = staticmethod(DecodeStep.size_for)
    sizes_for = staticmethod(DecodeStep.sizes_for)
    size_alike = staticmethod(DecodeStep.size_alike)

    def __init__(self, *_: object) -> None:
        self.runs: list[tuple[bool, list[int], int]] = []
        self.chances: list[list[list[int]] | None] = []
        self.sets = TokenSets(MAX_ROWS, torch.device("cpu"))

    def run(self, ids, positions, tables, size=None, chances=None) -> StepOutput:
        self.chances.append(None if chances is None else chances.tolist())
        size = size or self.size_for(len(positions))
        self.runs.append((ids is not None, positions, size))
        drawn = torch.full((2, 2, size), -5, dtype=torch.int32)
        for row, position in enumerate(positions):
            if position >= 0:
                id_ = position if chances is None else self._of_set(chances[row, -1], position)
                drawn[position & 1, :, row] = torch.tensor([id_, 0])
        return StepOutput(torch.zeros(len(positions), MAX_ROWS), drawn)

    def _of_set(self, place: int, id_: int) -> int:
        if place == 0:
            return id_
        bits = int.from_bytes(bytes(self.sets.table[place - 1].tolist()), "little")
        return id_ if bits >> id_ & 1 else (bits & -bits).bit_length() - 1


class _Event:
    def record(self) -> None: ...

    def synchronize(self) -> None: ...


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FastDecode]:
    monkeypatch.setattr(fast_decode, "DecodeStep", _Step)
    monkeypatch.setattr(fast_decode, "DecodeMemory", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    pages = (torch.zeros(1),)
    layout = SimpleNamespace(groups=("full_attention",), page_sizes=(PAGE,))
    pool = SimpleNamespace(k_pages=pages, v_pages=pages)
    return partial(FastDecode, SimpleNamespace(config=None), layout, pool, 64, 100)


@pytest.fixture
def fast(make) -> FastDecode:
    return make(8)


def _pages() -> SequencePages:
    pages = SequencePages.empty(1)
    pages.tables[0].extend(range(8))
    return pages


def _sequence(name: int, max_new_tokens: int = 20, **sampling: Any) -> Sequence:
    params = SamplingParams(**({"temperature": 0.0} | sampling))
    return Sequence(
        request=Request(request_id=str(name), prompt_ids=(1, 2, 3), sampling=params),
        arrival=name, max_new_tokens=max_new_tokens, seed=name << 32, token_ids=[1, 2, 3], num_computed=2,
        pages=_pages(),
    )  # fmt: skip


def _steps(fast: FastDecode, sequences: list[Sequence], count: int = 1) -> list[tuple]:
    """What was enqueued meanwhile."""
    step: Any = fast._step
    before = len(step.runs)
    for _ in range(count):
        plan = StepPlan([PlanEntry(sequence, 1, (sequence,)) for sequence in sequences])
        assert fast.takes(plan)
        result = fast.execute(plan, Sampler(torch.device("cpu")))
        for sequence, drawn in zip(sequences, result.drawn, strict=True):
            assert drawn.token_id == sequence.num_computed  # its own row's
            sequence.token_ids.append(sequence.num_computed)
            sequence.num_computed += 1
    return step.runs[before:]


def test_a_step_is_enqueued_before_the_one_in_front_of_it_is_read(fast):
    sequences = [_sequence(0), _sequence(1)]
    assert _steps(fast, sequences, 2) == [
        (True, [2, 2], 2), (False, [3, 3], 2), (False, [4, 4], 2)
    ]  # fmt: skip


def test_pages_of_a_second_start_hold_nothing_of_the_step_ahead(fast):
    sequence = _sequence(0)
    _steps(fast, [sequence])
    sequence.pages = _pages()  # preempted, and started again at the same place
    assert _steps(fast, [sequence])[0] == (True, [3], 1)


def test_who_leaves_has_a_row_without_a_token_until_a_smaller_graph_will_do(fast):
    sequences = [_sequence(idx) for idx in range(7)]
    _steps(fast, sequences)
    assert _steps(fast, sequences[1:]) == [(False, [-1, 4, 4, 4, 4, 4, 4], 8)]
    assert _steps(fast, sequences[3:]) == []  # reads what was ahead, and goes no further so wide
    assert _steps(fast, sequences[3:]) == [(True, [5] * 4, 4), (False, [6] * 4, 4)]


def test_nothing_goes_ahead_of_the_last_token_or_without_a_place(fast):
    assert _steps(fast, [_sequence(0, max_new_tokens=1)]) == [(True, [2], 1)]
    full = _sequence(1)
    full.pages = SequencePages.empty(1)
    full.pages.tables[0].append(0)
    assert _steps(fast, [full], 2) == [(True, [2], 1), (False, [3], 1)]


def test_steps_that_are_to_be_alike_have_one_size(make):
    fast = make(7, alike=True)
    sequences = [_sequence(idx) for idx in range(5)]
    assert _steps(fast, sequences[:1]) == [(True, [2], 8), (False, [3], 8)]
    assert {size for _, _, size in _steps(fast, sequences)} == {8}
    assert _steps(fast, sequences[1:2]) == [(False, [-1, 4, -1, -1, -1], 8)]  # none is too wide


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 8), (4, 8), (5, 8), (9, 16), (64, 64)])
def test_products_that_are_cut_by_what_all_have_chosen_are_for_one_alone(rows, size):
    assert DecodeStep.size_alike(rows) == size


def test_an_output_that_was_drawn_before_is_computed_and_not_drawn(fast):
    ahead, behind = _sequence(0), _sequence(1)
    behind.token_ids += [50, 60, 70]
    behind.num_computed = 3
    entries = [PlanEntry(behind, 1, ()), PlanEntry(ahead, 1, (ahead,))]
    assert fast.takes(StepPlan(entries))
    fast._step.run = _with_logits(fast._step.run)
    drawn = fast.execute(StepPlan(entries), Sampler(torch.device("cpu"))).drawn
    assert [one.token_id for one in drawn] == [2]
    assert fast._step.runs == [(True, [3, 2], 2)]  # type: ignore[attr-defined]
    assert fast.execute(StepPlan(entries[:1]), Sampler(torch.device("cpu"))).drawn == []
    early = _sequence(2)
    early.num_computed = 1
    assert not fast.takes(StepPlan([PlanEntry(early, 1, ())])), "prompts go another way"


def _with_logits(run, second: int | None = None):
    """The row's position is by far the most likely id, and then another one."""

    def run_with(ids, positions, tables, size=None, chances=None) -> StepOutput:
        output = run(ids, positions, tables, size, chances)
        if second is not None:
            output.logits[:, second] = 500.0
        output.logits[range(len(positions)), positions] = 1000.0
        return output

    return run_with


def test_tokens_by_chance_are_drawn_ahead_too(fast):
    """Each row's chance stays, however far its sequence is; its position tells the step which draw it is."""
    sequences = [_sequence(0), _sequence(1, temperature=0.5), _sequence(2, temperature=1.0)]
    sequences[2].index = 3
    runs = _steps(fast, sequences, 2)
    assert runs == [(True, [2, 2, 2], 4), (False, [3, 3, 3], 4), (False, [4, 4, 4], 4)]
    rows = [Chance(0, 0, 2, 0.0), Chance(1 << 32, 0, 2, 0.5), Chance(2 << 32, 3, 2, 1.0)]
    expected = chances(rows).tolist()
    assert fast._step.chances == [expected] * 3  # type: ignore[attr-defined]
    sequences[1].pages = _pages()  # preempted; its draws are counted from the same place
    _steps(fast, sequences)
    assert fast._step.chances == [expected] * 5  # type: ignore[attr-defined]
    _steps(fast, [_sequence(4)])
    assert fast._step.chances[-2:] == [None, None]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sampling", "by_steps"),
    [
        ({"temperature": 0.0, "top_p": 0.5}, True),
        ({"temperature": 0.7}, True),
        ({"temperature": 0.7, "top_p": 0.9}, True),
        ({"temperature": 0.7, "top_k": 5}, True),
        ({"temperature": 0.7, "min_p": 0.1}, True),
        ({"temperature": 0.7, "logprobs": 0}, False),
        ({"temperature": 0.7, "presence_penalty": 0.5}, False),
        ({"temperature": 0.7, "logit_bias": {4: 1.0}}, False),
        ({"temperature": 0.7, "min_tokens": 3, "stop_token_ids": (4,)}, False),
    ],
)
def test_what_steps_draw_by_themselves(sampling, by_steps):
    sampler = Sampler(torch.device("cpu"))
    assert sampler.is_drawn_by_steps([_sequence(0, **sampling)]) == by_steps
    assert sampler.is_drawn_by_steps([_sequence(0), _sequence(1, **sampling)]) == by_steps
    alike = Sampler(torch.device("cpu"), 8)
    greedy = sampling["temperature"] == 0
    assert alike.is_drawn_by_steps([_sequence(0, **sampling)]) == (by_steps and greedy)


def test_chances_are_as_the_kernel_declares_them():
    rows = chances(
        [
            Chance(2**63 - 1, 7, -1, 0.25, 40, 0.75, 1.0),
            Chance(0, 0, 0, 5e-324, 10**15),
            Chance(9, 9, 9, 0.0, 9, 0.9, 0.9),
        ]
    )
    assert rows.shape == (3, CHANCE_NUMBERS)
    first, second, third = (struct.unpack(_CHANCE, row.tobytes()) for row in rows)
    assert first == (2**63 - 1, 7, -1, 4.0, 40, 0.75, 0.0, 0)
    assert second[3:] == (pytest.approx(1e30), 2**32 - 1, 1.0, math.inf, 0)
    assert third == (9, 9, 9, 0.0, 0, 1.0, math.inf, 0)
    assert within(rows, [None, 0, 3])[:, -1].tolist() == [0, 1, 4]
    assert not rows[:, -1].any()


def test_draws_go_ahead_once_nothing_else_is_asked_for(fast):
    """Logits while `min_tokens` is not reached, then by the step; again logits beside one with a penalty."""
    sequence = _sequence(0, temperature=1.0, min_tokens=2, stop_token_ids=(90,))
    other = _sequence(1, temperature=1.0, presence_penalty=0.5)
    fast._step.run = _with_logits(fast._step.run)
    assert _steps(fast, [sequence], 2) == [(True, [2], 1), (True, [3], 1)]
    assert fast._step.chances == [None, None]  # type: ignore[attr-defined]
    assert _steps(fast, [sequence]) == [(True, [4], 1), (False, [5], 1)]
    assert _steps(fast, [sequence, other]) == [(True, [5, 2], 2)]
    assert _steps(fast, [sequence]) == [(True, [6], 1), (False, [7], 1)]
    kept = chances([Chance(0, 0, 2, 1.0)]).tolist()
    assert fast._step.chances[2:] == [kept, kept, None, kept, kept]  # type: ignore[attr-defined]


@pytest.mark.parametrize("prompt", [(5,), (1, 2, 3), tuple(range(40))])
@pytest.mark.parametrize("outputs", [0, 1, 9])
def test_a_step_s_draw_has_the_number_that_the_sampler_gives_it(prompt, outputs):
    """How far the position is behind `first` is how many outputs came before, the last prompt token's included."""
    sequence = _sequence(0, temperature=1.0)
    sequence.request = replace(sequence.request, prompt_ids=prompt)
    sequence.token_ids = [*prompt, *range(outputs)]
    sequence.num_computed = len(sequence.token_ids) - 1  # as for every row of a step
    rows = fast_decode._chances([sequence])
    assert rows is not None
    (_, _, first, *_) = struct.unpack(_CHANCE, rows[0].tobytes())
    assert sequence.num_computed - first == sequence.num_outputs


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


def _masked(name: int, mask: _Mask, **sampling: Any) -> Sequence:
    sequence = _sequence(name, **sampling)
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
    sequences = [_masked(0, mask, temperature=temperature), _sequence(1)]
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
    sequences = [_masked(0, mask, temperature=temperature), _sequence(1)]
    fast._step.run = _with_logits(fast._step.run, second=9)
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
    sequences = [_masked(0, _Fails()), _masked(1, _Refuses()), _sequence(2)]
    fast._step.run = _with_logits(fast._step.run)
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
    sequences = [_masked(0, mask, temperature=1.0, top_p=0.9), _sequence(1, temperature=1.0)]
    fast._step.run = _with_logits(fast._step.run)
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
    fast._step.run = _with_logits(fast._step.run, second=9)
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
    fast._step.run = _with_logits(fast._step.run)
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
    fast._step.run = _with_logits(fast._step.run)
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
    sequences = [_masked(0, mask), _masked(1, failing, temperature=1.0), _sequence(2)]
    fast._step.run = _with_logits(fast._step.run, second=9)
    step: Any = fast._step
    ids = [[one.token_id for one in _draw(fast, sequences, sampler)] for _ in range(2)]
    assert ids == [[9, 2, 2], [0, 3, 3]]  # the lowest of its set is what this step makes of a set
    # One ahead in vain, the first once more, and then none ahead.
    assert [given for given, *_ in step.runs] == [True, False, True, True]
    assert [step.sets.places([one]) for one in (_bits(set(range(MAX_ROWS)) - {3}),)] == [[0]]
    drawn = _draw(fast, sequences, sampler)
    assert [one.token_id for one in drawn] == [0, None, 4]
    assert drawn[1].error == "the token mask failed: KeyError('allowed')"
    assert mask.accepted == [9, 0, 0]
    assert mask.asked == 3


def test_steps_alike_ask_masks_by_the_sampler(make):
    """No graph of theirs knows sets."""
    fast, sampler = make(8, alike=True), Sampler(torch.device("cpu"), 8)
    mask = _Mask({0: {2}, 1: {3}})
    fast._step.run = _with_logits(fast._step.run, second=9)
    sequence = _masked(0, mask)
    assert [_draw(fast, [sequence], sampler)[0].token_id for _ in range(2)] == [9, 9]
    assert fast._step.chances == [None] * 4  # type: ignore[attr-defined]

"""Steps ahead on the CPU: which of them are believed, over a step that only notes how it is run."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import pytest
import torch

from ossia.cache.sequence_pages import SequencePages
from ossia.engine import fast_decode
from ossia.engine.fast_decode import FastDecode
from ossia.engine.plan import PlanEntry, StepPlan
from ossia.engine.sampler import Sampler
from ossia.engine.sequence import Sequence
from ossia.kernels.decode.draw import CHANCE_NUMBERS, Chance, chances, of_sets
from ossia.model.decode_step import MAX_ROWS, DecodeStep, StepOutput
from support.noted_steps import NoEvent, a_sequence, fresh_pages, with_logits

_CHANCE = "<QIifIffI"
_VALID = 100  # ids, as conftest.py says


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
    sequences = [a_sequence(0), a_sequence(1)]
    assert _steps(fast, sequences, 2) == [
        (True, [2, 2], 2), (False, [3, 3], 2), (False, [4, 4], 2)
    ]  # fmt: skip


def test_pages_of_a_second_start_hold_nothing_of_the_step_ahead(fast):
    sequence = a_sequence(0)
    _steps(fast, [sequence])
    sequence.pages = fresh_pages()  # preempted, and started again at the same place
    assert _steps(fast, [sequence])[0] == (True, [3], 1)


def test_who_leaves_has_a_row_without_a_token_until_a_smaller_graph_will_do(fast):
    sequences = [a_sequence(idx) for idx in range(7)]
    _steps(fast, sequences)
    assert _steps(fast, sequences[1:]) == [(False, [-1, 4, 4, 4, 4, 4, 4], 8)]
    assert _steps(fast, sequences[3:]) == []  # reads what was ahead, and goes no further so wide
    assert _steps(fast, sequences[3:]) == [(True, [5] * 4, 4), (False, [6] * 4, 4)]


def test_nothing_goes_ahead_of_the_last_token_or_without_a_place(fast):
    assert _steps(fast, [a_sequence(0, max_new_tokens=1)]) == [(True, [2], 1)]
    full = a_sequence(1)
    full.pages = SequencePages.empty(1)
    full.pages.tables[0].append(0)
    assert _steps(fast, [full], 2) == [(True, [2], 1), (False, [3], 1)]


def test_steps_that_are_to_be_alike_have_one_size(make):
    fast = make(7, alike=True)
    sequences = [a_sequence(idx) for idx in range(5)]
    assert _steps(fast, sequences[:1]) == [(True, [2], 8), (False, [3], 8)]
    assert {size for _, _, size in _steps(fast, sequences)} == {8}
    assert _steps(fast, sequences[1:2]) == [(False, [-1, 4, -1, -1, -1], 8)]  # none is too wide


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 8), (4, 8), (5, 8), (9, 16), (64, 64)])
def test_products_that_are_cut_by_what_all_have_chosen_are_for_one_alone(rows, size):
    assert DecodeStep.size_alike(rows) == size


def test_an_output_that_was_drawn_before_is_computed_and_not_drawn(fast):
    ahead, behind = a_sequence(0), a_sequence(1)
    behind.token_ids += [50, 60, 70]
    behind.num_computed = 3
    entries = [PlanEntry(behind, 1, ()), PlanEntry(ahead, 1, (ahead,))]
    assert fast.takes(StepPlan(entries))
    fast._step.run = with_logits(fast._step.run)
    drawn = fast.execute(StepPlan(entries), Sampler(torch.device("cpu"))).drawn
    assert [one.token_id for one in drawn] == [2]
    assert fast._step.runs == [(True, [3, 2], 2)]  # type: ignore[attr-defined]
    assert fast.execute(StepPlan(entries[:1]), Sampler(torch.device("cpu"))).drawn == []
    early = a_sequence(2)
    early.num_computed = 1
    assert not fast.takes(StepPlan([PlanEntry(early, 1, ())])), "prompts go another way"


def test_tokens_by_chance_are_drawn_ahead_too(fast):
    """Each row's chance stays, however far its sequence is; its position tells the step which draw it is."""
    sequences = [a_sequence(0), a_sequence(1, temperature=0.5), a_sequence(2, temperature=1.0)]
    sequences[2].index = 3
    runs = _steps(fast, sequences, 2)
    assert runs == [(True, [2, 2, 2], 4), (False, [3, 3, 3], 4), (False, [4, 4, 4], 4)]
    rows = [Chance(0, 0, 2, 0.0), Chance(1 << 32, 0, 2, 0.5), Chance(2 << 32, 3, 2, 1.0)]
    expected = chances(rows).tolist()
    assert fast._step.chances == [expected] * 3  # type: ignore[attr-defined]
    sequences[1].pages = fresh_pages()  # preempted; its draws are counted from the same place
    _steps(fast, sequences)
    assert fast._step.chances == [expected] * 5  # type: ignore[attr-defined]
    _steps(fast, [a_sequence(4)])
    assert fast._step.chances[-2:] == [None, None]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sampling", "by_steps"),
    [
        ({"temperature": 0.0, "top_p": 0.5}, True),
        ({"temperature": 0.7}, True),
        ({"temperature": 0.7, "top_p": 0.9}, True),
        ({"temperature": 0.7, "top_k": 5}, True),
        ({"temperature": 0.7, "min_p": 0.1}, True),
        ({"temperature": 0.7, "logprobs": 0}, True),
        ({"temperature": 0.7, "presence_penalty": 0.5}, False),
        ({"temperature": 0.7, "logit_bias": {4: 1.0}}, False),
        ({"temperature": 0.7, "min_tokens": 3, "stop_token_ids": (4,)}, False),
    ],
)
def test_what_steps_draw_by_themselves(sampling, by_steps):
    sampler = Sampler(torch.device("cpu"))
    assert sampler.is_drawn_by_steps([a_sequence(0, **sampling)]) == by_steps
    assert sampler.is_drawn_by_steps([a_sequence(0), a_sequence(1, **sampling)]) == by_steps
    alike = Sampler(torch.device("cpu"), 8)
    sequence = a_sequence(0, **sampling)
    assert alike.is_drawn_by_steps([sequence]) == (by_steps and "logprobs" not in sampling)
    sequence.request = replace(sequence.request, make_mask=lambda _: None)  # type: ignore[arg-type,return-value]
    assert sampler.is_drawn_by_steps([sequence]) == by_steps
    greedy = sampling["temperature"] == 0
    assert alike.is_drawn_by_steps([sequence]) == (by_steps and greedy)


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
    assert of_sets(rows, [None, 0, 3])[:, -1].tolist() == [0, 1, 4]
    assert not rows[:, -1].any()


def test_draws_go_ahead_once_nothing_else_is_asked_for(fast):
    """Logits while `min_tokens` is not reached, then by the step; again logits beside one with a penalty."""
    sequence = a_sequence(0, temperature=1.0, min_tokens=2, stop_token_ids=(90,))
    other = a_sequence(1, temperature=1.0, presence_penalty=0.5)
    fast._step.run = with_logits(fast._step.run)
    assert _steps(fast, [sequence], 2) == [(True, [2], 1), (True, [3], 1)]
    assert fast._step.chances == [None, None]  # type: ignore[attr-defined]
    assert _steps(fast, [sequence]) == [(True, [4], 1), (False, [5], 1)]
    assert _steps(fast, [sequence, other]) == [(True, [5, 2], 2)]
    assert _steps(fast, [sequence]) == [(True, [6], 1), (False, [7], 1)]
    kept = chances([Chance(0, 0, 2, 1.0)]).tolist()
    assert fast._step.chances[2:] == [kept, kept, None, kept, kept]  # type: ignore[attr-defined]


def test_log_probabilities_are_of_the_step_that_drew(fast):
    """Though the next one has overwritten its logits when its ids are read, and rows come and go."""
    sequences = [a_sequence(0), a_sequence(1, logprobs=2), a_sequence(2, logprobs=0)]
    sequences += [a_sequence(3, temperature=1.0, logprobs=5), *map(a_sequence, range(4, 7))]
    overwritten = torch.zeros(8, MAX_ROWS)
    given: list[torch.Tensor] = []
    run = fast._step.run

    def over(*asked: Any) -> StepOutput:
        output = run(*asked)
        given.append(torch.randn(output.logits.shape))
        overwritten[: len(given[-1])] = given[-1]
        return replace(output, logits=overwritten[: len(given[-1])])

    fast._step.run = over
    without = [one for one in sequences if one is not sequences[1]]
    for turn, some in enumerate([sequences, sequences, without, without, without[:-1]]):
        plan = StepPlan([PlanEntry(one, 1, (one,)) for one in some])
        drawn = fast.execute(plan, Sampler(torch.device("cpu"))).drawn
        for sequence, one in zip(some, drawn, strict=True):
            wanted = sequence.request.sampling.logprobs
            if wanted is None:
                assert one.logprob is None
                continue
            expected = given[turn][sequences.index(sequence), :_VALID].log_softmax(0)
            best = expected.topk(wanted)
            assert one.logprob is not None
            assert one.logprob.token_id == one.token_id == turn + 2
            assert one.logprob.logprob == pytest.approx(float(expected[turn + 2]), abs=1e-5)
            assert [id_ for id_, _ in one.logprob.top] == best.indices.tolist()
            told = [logprob for _, logprob in one.logprob.top]
            assert told == pytest.approx(best.values.tolist(), abs=1e-5)
        for sequence in some:
            sequence.token_ids.append(sequence.num_computed)
            sequence.num_computed += 1
    runs = fast._step.runs  # type: ignore[attr-defined]
    assert [ids_given for ids_given, *_ in runs] == [True, *[False] * 5], "one ahead"


def test_a_row_that_failed_has_no_log_probability(fast):
    sequences = [a_sequence(0, logprobs=1), a_sequence(1, logprobs=1)]
    run = fast._step.run

    def failing(*asked: Any) -> StepOutput:
        output = run(*asked)
        output.drawn[:, 1, 0] = -1  # NaN
        return output

    fast._step.run = failing
    plan = StepPlan([PlanEntry(one, 1, (one,)) for one in sequences])
    failed, other = fast.execute(plan, Sampler(torch.device("cpu"))).drawn
    assert (failed.token_id, failed.logprob) == (None, None)
    assert failed.error
    assert other.logprob is not None
    assert other.logprob.token_id == other.token_id


def test_a_step_has_arrived_once_its_log_probabilities_have(fast, monkeypatch):
    order: list[str] = []

    class Noting(NoEvent):
        def record(self) -> None:
            order.append("arrived")

    monkeypatch.setattr(torch.cuda, "Event", Noting)
    score = fast_decode.score
    monkeypatch.setattr(fast_decode, "score", lambda *all_: order.append("score") or score(*all_))
    sequence = a_sequence(0, logprobs=1)
    fast.execute(StepPlan([PlanEntry(sequence, 1, (sequence,))]), Sampler(torch.device("cpu")))
    assert order == ["score", "arrived"] * 2


@pytest.mark.parametrize("prompt", [(5,), (1, 2, 3), tuple(range(40))])
@pytest.mark.parametrize("outputs", [0, 1, 9])
def test_a_step_s_draw_has_the_number_that_the_sampler_gives_it(prompt, outputs):
    """How far the position is behind `first` is how many outputs came before, the last prompt token's included."""
    sequence = a_sequence(0, temperature=1.0)
    sequence.request = replace(sequence.request, prompt_ids=prompt)
    sequence.token_ids = [*prompt, *range(outputs)]
    sequence.num_computed = len(sequence.token_ids) - 1  # as for every row of a step
    rows = fast_decode._chances([sequence])
    assert rows is not None
    (_, _, first, *_) = struct.unpack(_CHANCE, rows[0].tobytes())
    assert sequence.num_computed - first == sequence.num_outputs

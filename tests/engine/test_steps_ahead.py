"""Whole engines whose steps go ahead: what comes is what comes without, whatever is asked and whenever."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.plan import PlanEntry, StepPlan, StepResult
from ossia.engine.runner import ModelRunner
from ossia.engine.sampler import Sampler
from ossia.types import Request, SamplingParams
from support.eager_steps import EagerStep, runner_with_steps
from support.engines import double_model, greedy, naive_greedy, run_to_end, tokens_of
from support.noted_steps import a_sequence

_VOCAB = 97
_ASKED = [
    {"temperature": 0.0},
    {"temperature": 0.0, "logprobs": 2},
    {"temperature": 1.0},
    {"temperature": 0.5, "top_p": 0.75, "logprobs": 0},
    {"temperature": 1.0, "n": 2},
    {"temperature": 1.0, "top_k": 9},
    # Beside these no step goes ahead.
    {"temperature": 0.0, "presence_penalty": 0.5},
    {"temperature": 0.0, "stop_token_ids": (3, 50), "min_tokens": 4},
    {"temperature": 1.0, "logit_bias": {4: 3.0}},
]


class _Turns:
    """Allows one set of ids, then the other, as the tokens decide."""

    def __init__(self, seed: int) -> None:
        numbers = random.Random(seed)
        self._sets = [
            sum(1 << id_ for id_ in range(_VOCAB) if numbers.random() < 0.6) | 1 for _ in range(2)
        ]
        self._at = 0

    def allowed(self) -> bytes:
        return self._sets[self._at].to_bytes(13, "little")

    def accept(self, token_id: int) -> None:
        if token_id % 4 == 0:
            self._at = 1 - self._at


class _Anything:
    def allowed(self) -> None: ...

    def accept(self, token_id: int) -> None: ...


def _requests(numbers: random.Random, count: int, wishes: list[dict[str, Any]]) -> list[Request]:
    stem = tuple(numbers.choices(range(_VOCAB), k=20))
    requests: list[Request] = []
    for number in range(count):
        asked: dict[str, Any] = dict(numbers.choice(wishes))
        own = tuple(numbers.choices(range(_VOCAB), k=numbers.randint(1, 12)))
        # What a step draws from all ids and a mask refuses is drawn anew with another number.
        is_same = asked["temperature"] == 0 or "top_k" in asked or "top_p" in asked
        is_masked = is_same and numbers.random() < 0.3
        requests.append(
            Request(
                request_id=str(number),
                prompt_ids=(*stem[: numbers.choice([0, 7, 20])], *own),
                sampling=SamplingParams(max_tokens=numbers.randint(4, 18), seed=number, **asked),
                make_mask=(lambda index, seed=number: _Turns(seed + index)) if is_masked else None,
            )
        )
    return requests


def _outputs(
    core: EngineCore, requests: list[Request], pauses: list[int], aborts: dict[int, int]
) -> dict[tuple[str, int], list[tuple]]:
    """Of each continuation ids, log-probabilities and how it ended; aborted ones by what came until then."""
    outputs = []
    waiting = list(zip(requests, pauses, strict=True))
    step = 0
    while waiting or core.has_work:
        while waiting and (waiting[0][1] == 0 or not core.has_work):
            core.submit(waiting.pop(0)[0])
        outputs += core.step()
        core.check()
        step += 1
        if waiting:
            waiting[0] = waiting[0][0], max(0, waiting[0][1] - 1)
        if step in aborts and core.is_live(str(aborts[step])):
            core.abort(str(aborts[step]))
    outputs += run_to_end(core)
    told: dict[tuple[str, int], list[tuple]] = {}
    for one in outputs:
        score = one.logprob
        best = None if score is None else [round(score.logprob, 4), *(id_ for id_, _ in score.top)]
        told.setdefault((one.request_id, one.index), []).append(
            (one.token_id, best, one.finish_reason, one.error)
        )
    return told


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_what_comes_is_what_comes_without(monkeypatch, seed, deterministic):
    """Rounding does not show in float64, so that deterministic engines say the same."""
    numbers = random.Random(seed)
    model = double_model(window=8)
    go_ahead = seed % 3 > 0
    requests = _requests(numbers, 14, _ASKED[:6] if go_ahead else _ASKED)
    pauses = [numbers.choice([0, 0, 1, 3, 6]) for _ in requests]
    aborts = {numbers.randint(2, 40): numbers.randrange(14) for _ in range(3)}
    config = EngineConfig(
        page_size=numbers.choice([1, 4, 16]),
        num_pages=numbers.choice([200, 400]),
        max_sequences=numbers.choice([2, 5, 9]),
        max_batch_tokens=24,
        prefill_chunk=numbers.choice([5, 24]),
    )
    make = runner_with_steps(monkeypatch)
    ahead = EngineCore(model, replace(config, deterministic=deterministic), make_runner=make)
    by_steps = _outputs(ahead, requests, pauses, aborts)
    without = _outputs(EngineCore(model, config), requests, pauses, {})
    aborted = {str(number) for number in aborts.values()}
    for (name, index), told in without.items():
        if name in aborted:
            some = by_steps.get((name, index), [])
            some = [one for one in some if one[0] is not None]
            assert [one[:2] for one in some] == [one[:2] for one in told[: len(some)]]
        else:
            assert by_steps[name, index] == told, (name, requests[int(name)].sampling)
    step: EagerStep = ahead._runner._fast._step  # type: ignore[attr-defined]
    assert not go_ahead or not all(step.from_host), "none went ahead"


def test_a_pass_computes_only_what_the_step_ahead_has_not(monkeypatch):
    passes: list[list[str]] = []
    run_pass = ModelRunner._pass

    def noted(runner: ModelRunner, plan: StepPlan) -> StepResult:
        passes.append([entry.sequence.request.request_id for entry in plan.entries])
        return run_pass(runner, plan)

    monkeypatch.setattr(ModelRunner, "_pass", noted)
    model, config = double_model(window=8), EngineConfig(num_pages=200)
    core = EngineCore(model, config, make_runner=runner_with_steps(monkeypatch))
    masked = Request(
        request_id="masked",
        prompt_ids=(5, 6),
        sampling=SamplingParams(max_tokens=9, temperature=0.0),
        make_mask=lambda _: _Anything(),
    )
    core.submit(greedy("first", (1, 2, 3), 9))
    core.submit(masked)
    outputs = [*core.step(), *core.step(), *core.step()]
    core.submit(greedy("late", (7, 8, 9), 9))
    outputs += run_to_end(core)
    assert passes == [["first", "masked"], ["late"]]
    for name, prompt in (("first", (1, 2, 3)), ("late", (7, 8, 9))):
        assert tokens_of(outputs, name) == naive_greedy(model, prompt, 9)


def test_a_pass_of_others_leaves_the_step_ahead(fast):
    """As where prompts are computed apart from what decodes."""
    sampler = Sampler(torch.device("cpu"))
    one, other = a_sequence(0), a_sequence(1)
    plan = StepPlan([PlanEntry(one, 1, (one,))])
    fast.execute(plan, sampler)
    one.token_ids.append(2)
    one.num_computed = 3
    other.num_computed = 0
    assert fast.land(StepPlan([PlanEntry(other, 3, (other,))]), sampler) is None
    before = len(fast._step.runs)
    assert fast.execute(plan, sampler).drawn[0].token_id == 3
    assert [given for given, *_ in fast._step.runs[before:]] == [False]
    landing = fast.land(StepPlan([PlanEntry(other, 3, (other,)), PlanEntry(one, 1, ())]), sampler)
    assert landing is None, "that one does not draw"
    assert fast._ahead is None

"""Submitting, ending and counting, one case at a time."""

from __future__ import annotations

import logging

import pytest

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.runner import ModelRunner
from ossia.errors import CapacityError, ConfigError, ContextLengthError, RequestError
from ossia.types import FinishReason, Request, SamplingParams
from support.engines import FakeClock, double_model, fake_core, greedy, run_to_end, tokens_of


def ask(name: str = "it", prompt=(1, 2, 3), deadline: float = float("inf"), **sampling) -> Request:
    params = SamplingParams(**({"max_tokens": 5} | sampling))
    return Request(request_id=name, prompt_ids=prompt, sampling=params, deadline=deadline)


def test_the_runner_is_warmed_up_when_asked():
    core, runner, _ = fake_core(num_pages=14)
    assert not runner.is_warm
    core.warm_up()
    assert runner.is_warm


def test_a_model_on_the_cpu_needs_no_warming_up():
    core = EngineCore(double_model(), EngineConfig(num_pages=14))
    core.warm_up()
    assert not core.has_work


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (ask(prompt=()), RequestError, "prompt_ids"),
        (ask(prompt=(1, 97)), RequestError, "prompt_ids"),
        (ask(prompt=(-1,)), RequestError, "prompt_ids"),
        (ask(prompt=(1.0,)), RequestError, "prompt_ids"),
        (ask(prompt=(True,)), RequestError, "prompt_ids"),
        (ask(stop_token_ids=(97,)), RequestError, "stop_token_ids"),
        (ask(logit_bias={97: 1.0}), RequestError, "logit_bias"),
        (ask(prompt=(1,) * 64), ContextLengthError, "prompt_ids"),
        (ask(n=9), CapacityError, "n"),
        (ask(prompt=(1,) * 50), CapacityError, "prompt_ids"),
        (ask(prompt=(1,) * 30, max_tokens=34), CapacityError, "max_tokens"),
    ],
)
def test_what_can_never_be_served_is_refused_at_once(request_, error, field):
    core, _, _ = fake_core(num_pages=14, page_size=4, window=6, context=64, max_sequences=8)
    with pytest.raises(error) as caught:
        core.submit(request_)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
    assert not core.has_work


def test_an_id_is_taken_until_its_request_has_ended():
    core, _, _ = fake_core(num_pages=40)
    core.submit(ask())
    with pytest.raises(RequestError, match="'it' is in use"):
        core.submit(ask())
    run_to_end(core)
    core.submit(ask())
    run_to_end(core)


@pytest.mark.parametrize(
    ("num_pages", "max_tokens", "expected"),
    [
        (100, 40, 24),  # clipped to the context of 64
        (100, None, 24),
        (15, None, 5),  # 11 full and 4 sliding pages: the cache holds 44 tokens
        (15, 5, 5),
    ],
)
def test_output_is_clipped_to_what_the_model_and_the_cache_can_hold(
    num_pages, max_tokens, expected
):
    core, _, _ = fake_core(num_pages=num_pages, page_size=4, window=10, context=64)
    core.submit(ask(prompt=(1,) * 40, max_tokens=max_tokens))
    outputs = run_to_end(core)
    assert len(outputs) == expected
    assert outputs[-1].finish_reason is FinishReason.LENGTH


def test_the_models_own_limit_holds():
    core, _, _ = fake_core(num_pages=20_000, page_size=16, context=131_072)
    assert core.admission.max_context == 131_072
    assert core.validate(ask(prompt=(1,) * 131_071, max_tokens=None)) == 1
    with pytest.raises(ContextLengthError, match="131072 tokens leave no room"):
        core.validate(ask(prompt=(1,) * 131_072))


def test_max_context_limits_below_the_model():
    core, _, _ = fake_core(num_pages=100, max_context=20)
    assert core.admission.max_context == 20
    core.submit(ask(prompt=(1,) * 18, max_tokens=None))
    assert len(run_to_end(core)) == 2
    with pytest.raises(ContextLengthError, match="within 20"):
        core.submit(ask(prompt=(1,) * 20))


@pytest.mark.parametrize("steps", [0, 1, 4, 6])
@pytest.mark.parametrize("n", [1, 3])
def test_abort_ends_every_continuation_once_in_any_state(steps, n):
    core, runner, _ = fake_core(num_pages=60, prefill_chunk=2, max_sequences=3)
    core.submit(ask("first", max_tokens=30))
    core.submit(ask(prompt=tuple(range(10)), n=n, max_tokens=30))
    for _ in range(steps):
        core.step()
    outputs = core.abort("it")
    assert sorted(output.index for output in outputs) == list(range(n))
    assert {output.finish_reason for output in outputs} == {FinishReason.ABORT}
    assert core.live_requests == ("first",)
    core.check()
    assert core.abort("it") == []
    run_to_end(core)
    assert ("first", 0) in runner.released


def test_aborting_what_never_was_is_no_error():
    core, _, _ = fake_core(num_pages=40)
    assert core.abort("nobody") == []


def test_a_deadline_ends_waiting_and_running_requests():
    core, _, clock = fake_core(num_pages=60, max_sequences=1, max_batch_tokens=8)
    core.submit(ask("runs", deadline=3.0, max_tokens=40))
    core.submit(ask("waits", deadline=2.0, n=1))
    core.submit(ask("later", max_tokens=2))
    reasons: dict[str, tuple[float, FinishReason]] = {}
    while core.has_work:
        for output in core.step():
            if output.finish_reason:
                reasons[output.request_id] = (clock.now, output.finish_reason)
        core.check()
        clock.now += 1.0
    assert reasons["waits"] == (2.0, FinishReason.DEADLINE)
    assert reasons["runs"] == (3.0, FinishReason.DEADLINE)
    assert reasons["later"][1] is FinishReason.LENGTH


def test_a_deadline_of_a_finished_request_does_not_hit_its_successor():
    core, _, clock = fake_core(num_pages=60)
    core.submit(ask(deadline=5.0, max_tokens=1))
    run_to_end(core)
    core.submit(ask(max_tokens=2))
    clock.now = 9.0
    assert {output.finish_reason for output in run_to_end(core)} == {None, FinishReason.LENGTH}


def test_deadlines_of_ended_requests_do_not_pile_up():
    core, _, clock = fake_core(num_pages=60)
    core.submit(ask("stays", deadline=7.0, max_tokens=60))
    for idx in range(500):
        core.submit(ask(str(idx), deadline=1e6))
        core.abort(str(idx))
    assert len(core._deadlines) < 100
    clock.now = 8.0
    (output,) = core.step()
    assert (output.request_id, output.finish_reason) == ("stays", FinishReason.DEADLINE)


def test_a_deadline_that_has_passed_ends_the_request_before_any_work():
    core, runner, clock = fake_core(num_pages=60)
    clock.now = 1.0
    core.submit(ask(deadline=0.5, n=2))
    outputs = core.step()
    assert [output.finish_reason for output in outputs] == [FinishReason.DEADLINE] * 2
    assert runner.plans == []


def test_a_failing_step_ends_everyone_with_an_error_and_the_engine_goes_on(caplog):
    core, runner, _ = fake_core(num_pages=60, max_sequences=2, max_batch_tokens=8)
    for idx in range(3):
        core.submit(ask(str(idx), n=1 + idx % 2, max_tokens=9))
    core.step()
    runner.fail_next = True
    with caplog.at_level(logging.ERROR):
        outputs = core.step()
    assert {output.request_id for output in outputs} == {"0", "1", "2"}
    assert len(outputs) == 4
    assert {output.error for output in outputs} == {"RuntimeError: injected"}
    assert "injected" in caplog.text
    assert not core.has_work
    core.check()
    core.submit(ask("again"))
    assert len(tokens_of(run_to_end(core), "again")) == 5
    assert core.stats().failed_steps == 1


def test_a_failing_model_leaves_the_real_runner_usable(monkeypatch):
    core = EngineCore(double_model(), EngineConfig(num_pages=40))
    core.submit(greedy("one", (1, 2, 3), 4))
    core.step()
    with monkeypatch.context() as patched:
        patched.setattr(
            type(double_model()),
            "forward",
            lambda *_: (_ for _ in ()).throw(MemoryError("no room")),
        )
        (output,) = core.step()
    assert output.error == "MemoryError: no room"
    core.submit(greedy("two", (1, 2, 3), 4))
    assert len(run_to_end(core)) == 4


def test_counters():
    core, _, _ = fake_core(num_pages=60, page_size=4)
    core.submit(ask("one", prompt=tuple(range(9)), n=2, max_tokens=3))
    core.step()
    running = core.stats()
    assert (running.num_running, running.num_waiting) == (2, 0)
    assert running.pages_held > 0
    run_to_end(core)
    core.submit(ask("two", prompt=tuple(range(9)), max_tokens=3))
    assert core.stats().num_waiting == 1
    run_to_end(core)
    stats = core.stats()
    assert stats.prompt_tokens == 18
    assert stats.cached_tokens == 8
    assert stats.output_tokens == 9
    assert stats.finished == 3
    assert stats.steps == 6
    assert stats.computed_tokens == 9 + 2 * 2 + 1 + 2
    assert (stats.pages_held, stats.num_running, stats.num_pages) == (0, 0, 60)


def test_the_runner_forgets_every_sequence_that_ended():
    core, runner, _ = fake_core(num_pages=60)
    core.submit(ask("one", n=3))
    core.submit(ask("two"))
    core.step()
    core.abort("two")
    run_to_end(core)
    assert sorted(runner.released) == [("one", 0), ("one", 1), ("one", 2), ("two", 0)]


def test_penalties_are_forgotten_when_their_sequence_ends():
    core = EngineCore(double_model(), EngineConfig(num_pages=40))
    core.submit(greedy("it", (1, 2, 3), 3, presence_penalty=1.0))
    core.step()
    runner = core._runner
    assert isinstance(runner, ModelRunner)
    assert len(runner._sampler._seen) == 1
    run_to_end(core)
    assert runner._sampler._seen == {}


def test_valid_ids_must_lie_within_the_vocabulary():
    with pytest.raises(ConfigError, match="valid_token_ids_end=98 exceeds vocab_size=97"):
        EngineCore(double_model(), EngineConfig(num_pages=40, valid_token_ids_end=98))


def test_the_clock_is_not_asked_without_deadlines():
    class Unwanted(FakeClock):
        def __call__(self) -> float:
            raise AssertionError("a system call for nothing in every step")

    core = EngineCore(double_model(), EngineConfig(num_pages=40), clock=Unwanted())
    core.submit(greedy("it", (1, 2, 3), 2))
    assert len(run_to_end(core)) == 2

"""Who runs when: fairness, priorities, budgets and preemption, over a fake runner."""

from __future__ import annotations

import dataclasses

import pytest

from ossia.types import FinishReason, Request, SamplingParams
from support.engines import fake_core, run_to_end, tokens_of
from support.fake_model import expected_output


def request(
    name: str, prompt_len: int, max_tokens: int = 4, *, start: int = 0, **more: object
) -> Request:
    n = more.pop("n", 1)
    return Request(
        request_id=name,
        prompt_ids=tuple((start + idx) % 97 for idx in range(prompt_len)),
        sampling=SamplingParams(max_tokens=max_tokens, n=n),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def order_of_first_tokens(outputs) -> list[str]:
    return list(dict.fromkeys(output.request_id for output in outputs))


def test_no_step_exceeds_its_token_budget_and_chunks_are_respected():
    core, runner, _ = fake_core(
        num_pages=400, max_sequences=4, max_batch_tokens=10, prefill_chunk=6, context=200
    )
    for idx in range(6):
        core.submit(request(str(idx), 30 + idx, start=idx))
    run_to_end(core)
    assert max(plan.num_tokens for plan in runner.plans) == 10
    assert max(entry.num_tokens for plan in runner.plans for entry in plan.entries) == 6


def test_decoding_goes_on_while_a_long_prompt_is_computed():
    core, runner, _ = fake_core(num_pages=400, prefill_chunk=8, context=500)
    core.submit(request("talker", 3, max_tokens=30))
    core.step()
    core.submit(request("long", 100, start=50))
    for _ in range(10):
        outputs = core.step()
        assert [output.request_id for output in outputs] == ["talker"]
    mixed = runner.plans[-1].entries
    assert sorted(entry.num_tokens for entry in mixed) == [1, 8]
    run_to_end(core)


def test_a_short_prompt_does_not_wait_for_a_long_one():
    core, _, _ = fake_core(num_pages=400, prefill_chunk=8, max_batch_tokens=64, context=500)
    core.submit(request("long", 300))
    core.step()
    core.submit(request("short", 6, start=50))
    first = next(outputs for outputs in (core.step() for _ in range(40)) if outputs)
    assert [output.request_id for output in first] == ["short"]
    run_to_end(core)


def test_a_long_prompt_is_not_starved_by_a_stream_of_short_ones():
    core, _, _ = fake_core(
        num_pages=400, prefill_chunk=8, max_batch_tokens=8, max_sequences=4, context=500
    )
    core.submit(request("long", 120, max_tokens=1))
    for idx in range(200):
        core.submit(request(str(idx), 8, max_tokens=1, start=idx))
        if any(output.request_id == "long" for output in core.step()):
            break
    else:
        pytest.fail("the long prompt never finished")
    # 15 chunks, each of which waits for at most the three other places.
    assert idx <= 15 * 4
    run_to_end(core)


def test_equal_priorities_start_in_the_order_of_arrival():
    core, _, _ = fake_core(num_pages=400, max_sequences=2, max_batch_tokens=64)
    for idx in range(6):
        core.submit(request(str(idx), 5, start=idx))
    assert order_of_first_tokens(run_to_end(core)) == list("012345")


def test_a_lower_priority_number_starts_first_and_takes_places_from_others():
    core, _, _ = fake_core(num_pages=400, max_sequences=2, max_batch_tokens=64)
    for idx in range(3):
        core.submit(request(f"later {idx}", 5, max_tokens=20, start=idx, priority=1))
    core.step()
    core.submit(request("urgent", 5, max_tokens=2, start=60))
    assert "urgent" in {output.request_id for output in core.step()}
    assert core.stats().preemptions == 1
    outputs = run_to_end(core)
    assert order_of_first_tokens(outputs)[:2] == ["urgent", "later 0"]
    assert {output.finish_reason for output in outputs} == {None, FinishReason.LENGTH}


def test_equal_priorities_do_not_take_places_from_each_other():
    core, _, _ = fake_core(num_pages=400, max_sequences=2, max_batch_tokens=64)
    for idx in range(5):
        core.submit(request(str(idx), 5, max_tokens=9, start=idx))
    run_to_end(core)
    assert core.stats().preemptions == 0


def test_the_latest_arrival_gives_up_its_pages_first_and_comes_back():
    core, runner, _ = fake_core(num_pages=40, page_size=2, window=4, context=64, prefix_reuse=False)
    asked = {name: request(name, 4, max_tokens=30, start=idx) for idx, name in enumerate("abc")}
    for one in asked.values():
        core.submit(one)
    finished: list[str] = []
    outputs = []
    while core.has_work:
        outputs += core.step()
        core.check()
        finished += [one.request_id for one in outputs[-3:] if one.finish_reason]
    assert core.stats().preemptions > 0
    assert list(dict.fromkeys(finished)) == ["a", "b", "c"]
    for name, one in asked.items():
        assert tokens_of(outputs, name) == expected_output(one.prompt_ids, 0, 30, 97)
    assert max(len(plan.entries) for plan in runner.plans) == 3


def test_a_long_prompt_of_higher_rank_takes_pages_from_one_already_planned():
    """The decoder is entered into the step first, then loses its pages within the same step."""
    core, runner, _ = fake_core(
        num_pages=50, page_size=1, window=2, context=64, prefill_chunk=2, prefix_reuse=False
    )
    core.submit(request("long", 36, max_tokens=2))
    core.submit(request("short", 2, max_tokens=30, start=50))
    outputs = run_to_end(core)
    assert core.stats().preemptions > 0
    assert tokens_of(outputs, "long") == expected_output(tuple(range(36)), 0, 2, 97)
    assert len(tokens_of(outputs, "short")) == 30
    assert runner.plans


def test_continuations_need_their_places_together():
    core, _, _ = fake_core(num_pages=400, max_sequences=4, max_batch_tokens=64)
    core.submit(request("two", 5, max_tokens=9, n=2))
    core.submit(request("three", 5, max_tokens=3, start=9, n=3))
    outputs = core.step()
    assert {output.request_id for output in outputs} == {"two"}
    outputs += run_to_end(core)
    for name, start, count, n in (("two", 0, 9, 2), ("three", 9, 3, 3)):
        prompt = tuple(range(start, start + 5))
        for index in range(n):
            expected = expected_output(prompt, index, count, 97)
            assert tokens_of(outputs, name, index) == expected


def test_a_request_that_needs_all_pages_runs_when_it_is_alone():
    core, _, _ = fake_core(num_pages=18, page_size=2, window=4, context=64, prefix_reuse=False)
    limit = core.admission.max_context
    core.submit(request("small", 4, max_tokens=6, start=60))
    core.submit(request("large", limit - 5, max_tokens=5))
    outputs = run_to_end(core)
    assert len(tokens_of(outputs, "large")) == 5
    assert len(tokens_of(outputs, "small")) == 6


def test_a_prompt_of_one_token_and_an_output_of_one_token():
    core, _, _ = fake_core(num_pages=4)
    core.submit(request("it", 1, max_tokens=1))
    (output,) = core.step()
    assert output.finish_reason is FinishReason.LENGTH
    core.check()


def test_prompt_logprobs_keep_chunks_small():
    core, runner, _ = fake_core(num_pages=400, context=500)
    one = request("it", 200)
    scored = dataclasses.replace(one.sampling, prompt_logprobs=0)
    core.submit(dataclasses.replace(one, sampling=scored))
    core.step()
    assert runner.plans[0].num_tokens == 64
    core.abort("it")


def test_places_for_the_token_after_the_next_one():
    core, runner, _ = fake_core(num_pages=8, page_size=2, window=64, looks_ahead=True)
    core.submit(request("a", 3, 4))
    held = []
    while core.has_work:
        core.step()
        core.check()
        held.append(core.stats().pages_held)
    # tokens computed: 3, 4, 5, 6; no place beyond the last one that can be wanted
    assert held == [4, 6, 6, 0]
    assert [plan.num_tokens for plan in runner.plans] == [3, 1, 1, 1]


def test_places_ahead_never_cost_another_sequence_its_own():
    core, _, _ = fake_core(num_pages=8, page_size=2, window=64, looks_ahead=True)
    for name in "ab":
        core.submit(request(name, 3, 5))
    outputs = run_to_end(core)
    assert len(tokens_of(outputs, "a")) == len(tokens_of(outputs, "b")) == 5
    core.check()

"""The synchronous front: lists of results, and streams side by side."""

from __future__ import annotations

import dataclasses

import pytest

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.results import RequestResult
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import RequestError
from ossia.types import FinishReason, TokenLogprob, TokenOutput
from support.engines import double_model, fake_core, greedy, naive_greedy
from support.fake_model import expected_output


def test_generate_returns_results_in_the_order_of_the_requests():
    engine = SyncEngine(EngineCore(double_model(), EngineConfig(num_pages=200)))
    asked = [("c", (1, 2, 3), 9), ("a", (4, 5), 2), ("b", (6,), 5)]
    results = engine.generate(greedy(name, prompt, count, n=2) for name, prompt, count in asked)
    assert [result.request_id for result in results] == ["c", "a", "b"]
    for result, (_, prompt, count) in zip(results, asked, strict=True):
        assert result.is_finished
        assert len(result.continuations) == 2
        for one in result.continuations:
            assert one.token_ids == naive_greedy(double_model(), prompt, count)
            assert one.finish_reason is FinishReason.LENGTH
    engine.core.check()


def test_generate_nothing():
    core, _, _ = fake_core(num_pages=40)
    assert SyncEngine(core).generate([]) == []


def test_results_carry_logprobs_and_cached_tokens():
    engine = SyncEngine(EngineCore(double_model(), EngineConfig(num_pages=200, page_size=2)))
    prompt = (1, 2, 3, 4, 5)
    (result,) = engine.generate([greedy("it", prompt, 3, logprobs=1, prompt_logprobs=0)])
    assert [one.token_id for one in result.continuations[0].logprobs] == (
        result.continuations[0].token_ids
    )
    assert result.prompt_logprobs is not None
    assert [one.token_id for one in result.prompt_logprobs if one] == [2, 3, 4, 5]
    (again,) = engine.generate([greedy("it", prompt, 3)])
    assert again.cached_tokens == 4
    assert again.continuations[0].logprobs == []


def test_if_one_request_is_refused_none_is_served():
    core, _, _ = fake_core(num_pages=40)
    with pytest.raises(RequestError):
        SyncEngine(core).generate([greedy("good", (1,), 5), greedy("bad", (), 5)])
    assert not core.has_work
    core.check()


def test_a_failing_runner_is_reported_in_the_results():
    core, runner, _ = fake_core(num_pages=40)
    runner.fail_next = True
    (result,) = SyncEngine(core).generate([greedy("it", (1,), 5)])
    assert result.continuations[0].finish_reason is FinishReason.ERROR
    assert result.continuations[0].error == "RuntimeError: injected"


def test_an_interrupted_step_loses_one_stream_and_no_other(monkeypatch):
    core, runner, _ = fake_core(num_pages=40, page_size=4)
    engine = SyncEngine(core)
    one, two = engine.stream(greedy("one", (1, 2), 6)), engine.stream(greedy("two", (2,), 6, n=2))
    next(one)
    begun = [next(two)]

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(one)
    assert core.live_requests == ("two",)
    core.check()
    outputs = begun + list(two)
    for index in range(2):
        found = [output.token_id for output in outputs if output.index == index]
        assert found == expected_output((2,), index, 6, 97)
    core.check()


def test_streams_may_be_read_in_turns():
    core, _, _ = fake_core(num_pages=40)
    engine = SyncEngine(core)
    one, two = engine.stream(greedy("one", (1,), 6)), engine.stream(greedy("two", (2,), 6))
    mixed = [(next(one).token_id, next(two).token_id) for _ in range(6)]
    assert [ids[0] for ids in mixed] == expected_output((1,), 0, 6, 97)
    assert [ids[1] for ids in mixed] == expected_output((2,), 0, 6, 97)
    assert list(one) == list(two) == []
    assert not core.has_work


def test_closing_a_stream_aborts_its_request():
    core, _, _ = fake_core(num_pages=40)
    engine = SyncEngine(core)
    stream = engine.stream(greedy("it", (1,), 30))
    next(stream)
    stream.close()
    assert not core.has_work
    core.check()
    assert len(list(engine.stream(greedy("it", (1,), 4)))) == 4


def test_a_stream_is_refused_at_once_and_queued_late():
    core, _, _ = fake_core(num_pages=40)
    engine = SyncEngine(core)
    with pytest.raises(RequestError):
        engine.stream(greedy("it", (), 4))
    engine.stream(greedy("it", (1,), 4))
    assert not core.has_work, "nobody has asked for an output yet"


def test_one_stream_may_abandon_while_another_goes_on():
    core, _, _ = fake_core(num_pages=40)
    engine = SyncEngine(core)
    one, two = engine.stream(greedy("one", (1,), 6)), engine.stream(greedy("two", (2,), 6))
    next(one)
    next(two)
    del one
    assert [output.token_id for output in two] == expected_output((2,), 0, 6, 97)[1:]


def test_a_result_puts_interleaved_outputs_together():
    result = RequestResult.empty("it", 2)
    scored = TokenLogprob(5, -0.1)
    outputs = [
        TokenOutput(request_id="it", index=1, token_id=5, logprob=scored),
        TokenOutput(request_id="it", index=0, token_id=6, finish_reason=FinishReason.STOP),
        TokenOutput(request_id="it", index=1, finish_reason=FinishReason.ERROR, error="why"),
    ]
    for number, output in enumerate(outputs):
        assert result.is_finished is False, number
        result.add(dataclasses.replace(output, cached_tokens=3))
    assert result.is_finished
    zero, one = result.continuations
    assert (zero.token_ids, zero.finish_reason, zero.error) == ([6], FinishReason.STOP, None)
    assert (one.token_ids, one.logprobs, one.error) == ([5], [scored], "why")
    assert result.cached_tokens == 3


def test_all_streams_come_as_one_with_the_same_tokens():
    engine = SyncEngine(EngineCore(double_model(), EngineConfig(num_pages=200)))
    asked = [greedy("c", (1, 2, 3), 9), greedy("a", (4, 5), 2), greedy("b", (6,), 5, n=2)]
    seen: dict[tuple[str, int], list[int | None]] = {}
    order = []
    for output in engine.stream_all(asked):
        seen.setdefault((output.request_id, output.index), []).append(output.token_id)
        order.append(output.request_id)
    assert seen == {
        (request.request_id, index): naive_greedy(
            double_model(), request.prompt_ids, request.sampling.max_tokens or 0
        )
        for request in asked
        for index in range(request.sampling.n)
    }
    assert order[:4] == ["c", "a", "b", "b"], "they run side by side"
    engine.core.check()
    assert list(engine.stream_all([])) == []


def test_one_of_all_streams_can_be_ended():
    core, _, _ = fake_core(num_pages=40)
    engine = SyncEngine(core)
    counts = {"a": 0, "b": 0}
    for output in engine.stream_all([greedy("a", (1,), 9), greedy("b", (2,), 9, n=2)]):
        counts[output.request_id] += 1
        if counts["b"] == 3:
            engine.abort("b")
    assert counts == {"a": 9, "b": 3}
    assert not core.has_work
    core.check()


def test_closing_all_streams_ends_all_and_a_refused_one_lets_none_begin():
    core, _, _ = fake_core(num_pages=40)
    engine = SyncEngine(core)
    outputs = engine.stream_all([greedy("a", (1,), 9), greedy("b", (2,), 9)])
    next(outputs)
    outputs.close()
    assert not core.has_work
    with pytest.raises(RequestError):
        next(engine.stream_all([greedy("a", (1,), 5), greedy("bad", (), 5)]))
    assert not core.has_work
    core.check()

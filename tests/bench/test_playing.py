"""Playing requests: all of them, to their full lengths, with the cache that was asked for."""

from __future__ import annotations

import itertools
import random

import pytest

from ossia.api.runtime import core_for
from ossia.bench.playing import play, random_prompt
from ossia.engine.config import EngineConfig
from ossia.errors import OssiaError

CONFIG = EngineConfig(max_sequences=3, num_pages=64, max_context=128)


def prompts(count: int, length: int) -> list[tuple[int, ...]]:
    numbers = random.Random(random.random())
    return [random_prompt(numbers, 1000, length) for _ in range(count)]


def test_random_prompts_have_their_length_and_stay_in_the_vocabulary():
    (prompt,) = prompts(1, 5000)
    assert len(prompt) == 5000
    assert 0 <= min(prompt) <= 5
    assert 994 <= max(prompt) < 1000


def test_every_request_gets_all_its_tokens(tiny):
    core = core_for(tiny.network, CONFIG)
    ticks = itertools.count()
    found = play(core, prompts(5, 7), [1, 4, 2, 6, 3], clock=lambda: float(next(ticks)))
    assert [one.output_tokens for one in found] == [1, 4, 2, 6, 3]
    assert [len(one.pieces) for one in found] == [1, 4, 2, 6, 3]
    assert {one.started for one in found} == {0.0}
    assert {one.input_tokens for one in found} == {7}
    # A token a step while it runs, on the clock that was given.
    assert all(gap == 1 for one in found for gap in one.itls)
    assert found[0].ttft == 1
    assert not core.has_work
    core.check()


def test_steps_can_be_limited(tiny):
    core = core_for(tiny.network, CONFIG)
    between: list[int] = []
    found = play(
        core, prompts(2, 4), 50, max_steps=3, between_steps=lambda: between.append(len(between))
    )
    assert [one.output_tokens for one in found] == [3, 3]
    assert len(between) == 3
    assert not core.has_work
    core.check()


def test_a_prompt_that_was_read_before_is_noticed(tiny):
    core = core_for(tiny.network, CONFIG)
    (prompt,) = prompts(1, 40)
    play(core, [prompt], 1)
    with pytest.raises(OssiaError, match="32 tokens of a prompt were cached in place of 0"):
        play(core, [prompt], 1)
    core = core_for(tiny.network, CONFIG)
    with pytest.raises(OssiaError, match="0 tokens of a prompt were cached in place of 16"):
        play(core, prompts(1, 40), 1, cached_tokens=16)


def test_a_failed_pass_is_told(tiny, monkeypatch):
    core = core_for(tiny.network, CONFIG)

    def fail(plan: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(core._runner, "execute", fail)
    with pytest.raises(OssiaError, match="a forward pass failed: RuntimeError: no such kernel"):
        play(core, prompts(2, 4), 3)

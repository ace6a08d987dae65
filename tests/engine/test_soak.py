"""A short run of the command fuzz.engine_soak."""

from __future__ import annotations

from random import Random

import pytest

from fuzz.engine_soak import Decks, Mixture, Soak, complaint
from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.model.heads import CausalLM

_MIXTURE = Mixture(live=7, longest_prompt=60, longest_output=24, vocab=1000)


def _core(**config: object) -> EngineCore:
    model = load_module(CausalLM, find_model("demo"))
    return EngineCore(model, EngineConfig(max_sequences=4, **config))  # type: ignore[arg-type]


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_engine_that_is_never_idle_loses_nothing(deterministic):
    core = _core(num_pages=48, page_size=4, deterministic=deterministic, prefill_chunk=16)
    soak = Soak(core, _MIXTURE, seed=1)
    soak.run(lambda: soak.counts["requests"] < 60)
    soak.check()
    soak.drain()
    stats = core.stats()
    assert stats.output_tokens == soak.counts["tokens"]
    assert stats.finished == soak.counts["ended"] + soak.counts["aborted"] >= 60
    assert soak.counts["aborted"] > 0
    assert stats.preemptions > 0
    assert stats.cached_tokens > 0


def test_a_lost_page_and_a_failure_are_noticed():
    core = _core(num_pages=200)
    soak = Soak(core, _MIXTURE, seed=2)
    soak.run(lambda: soak.counts["requests"] < 10)
    core._allocator._book._refs[core._scheduler._running[0].pages.tables[0][0]] += 1  # type: ignore[union-attr]
    with pytest.raises(AssertionError):
        soak.check()
    core = _core(num_pages=200)
    core._runner.execute = lambda plan: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        Soak(core, _MIXTURE, seed=3).run(lambda: True)


@pytest.mark.parametrize(
    ("rates", "found"),
    [
        ([100.0, 100.0, 96.0, 96.0], None),
        ([100.0, 104.0, 100.0], None),
        ([100.0, 100.0, 90.0, 99.0], "100.0 tokens/s at first, 94.5 later: -5.5 %"),
        ([100.0, 100.0, 106.0], "100.0 tokens/s at first, 106.0 later: +6.0 %"),
    ],
)
def test_a_rate_that_has_changed_is_told(rates, found):
    assert complaint(rates) == found


def test_a_run_that_is_too_short_to_compare_is_refused():
    with pytest.raises(ValueError, match="2 windows are too few"):
        complaint([1.0, 1.0])


def test_of_each_hundred_as_many_have_a_wish():
    decks = Decks(Random(4))
    numbers = [(decks.next("one"), decks.next("other")) for _ in range(300)]
    for first in range(0, 300, 100):
        for some in zip(*numbers[first : first + 100], strict=True):
            assert sorted(int(100 * number) for number in some) == list(range(100))
    assert len(set(numbers)) == 300

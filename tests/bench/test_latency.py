"""Latency: cases, and rates from times that are known."""

from __future__ import annotations

import pytest

from ossia.bench import latency
from ossia.bench.ceilings import Ceilings
from ossia.bench.latency import DecodeResult, LatencyBench, LatencyPlan, PrefillResult
from ossia.bench.request_timing import RequestTiming
from ossia.bench.roofline import kv_bytes, prefill_flops, weight_bytes
from ossia.engine import precision
from ossia.errors import CapacityError, RequestError
from ossia.kernels.backend import IMPLEMENTATIONS, Choice
from ossia.machine import Memory
from ossia.model import fp8_weights
from ossia.types import SamplingParams
from support import cpu_kernels

CEILINGS = Ceilings(read_bandwidth=1e9, matrix_rate=1e10)


def test_every_batch_at_every_depth(tiny):
    plan = LatencyPlan(batches=(1, 3), depths=(0, 32), prompt=5, tokens=4, repeats=2)
    told: list[str] = []
    found = list(LatencyBench(tiny, plan).run(CEILINGS, told.append))
    assert [(one.test, one.batch, one.depth) for one in found] == [
        (test, batch, depth) for batch in (1, 3) for depth in (0, 32) for test in ("pp5", "tg4")
    ]
    assert len(told) == 4
    for one in found:
        assert one.tokens_per_second.count == 2
        assert one.tokens_per_second.minimum > 0
        assert one.share > 0


_GREEDY = SamplingParams(temperature=0.0)


class Played:
    """In place of an engine: tells times, and what it was asked."""

    def __init__(self, *runs: list[list[float]]) -> None:
        self.runs = list(runs)
        self.asked: list[tuple[list[tuple[int, ...]], int, int]] = []
        self.draws: list[tuple[float, float, int | None]] = []

    def __call__(
        self, core, prompts, tokens, *, cached_tokens=0, sampling=_GREEDY, clock=None,
        between_steps=lambda: None,
    ) -> list[RequestTiming]:  # fmt: skip
        self.draws.append((sampling.temperature, sampling.top_p, sampling.logprobs))
        self.asked.append((list(prompts), tokens, cached_tokens))
        for _ in range(9):
            between_steps()
        run = self.runs.pop(0)
        return [RequestTiming(started=0.0, input_tokens=0, pieces=pieces) for pieces in run]


# Two sequences; the second has its first token later, so passes count from 3.0 to 6.0.
RUN = [[1.0, 3.0, 4.0, 5.0, 6.0], [3.0, 4.0, 5.0, 6.0, 7.5]]
# The same at half the speed.
SLOW = [[2 * moment for moment in pieces] for pieces in RUN]


def test_rates_from_known_times(tiny, monkeypatch):
    played = Played([[9.0], [9.0]], [[1.0, 2.0], [1.0, 2.0]], RUN, SLOW)
    monkeypatch.setattr(latency, "play", played)
    plan = LatencyPlan(
        batches=(2,),
        depths=(16,),
        prompt=6,
        tokens=5,
        repeats=2,
        temperature=0.5,
        top_p=0.9,
        logprobs=3,
    )
    prefill, decode = list(LatencyBench(tiny, plan).run(CEILINGS))
    config, width = tiny.network.config, 2
    assert isinstance(prefill, PrefillResult)
    assert prefill.tokens_per_second.mean == pytest.approx((12 / 3 + 12 / 6) / 2)
    assert prefill.ttft_ms.mean == pytest.approx((2000 + 4000) / 2)
    assert prefill.flops == prefill_flops(config, 2, 6, 16)
    assert prefill.share == pytest.approx(prefill.flops * 3.0 / 12 / 1e10)
    assert isinstance(decode, DecodeResult)
    assert decode.tokens_per_second.maximum == pytest.approx(2.0)  # a pass a second, two each
    assert decode.tokens_per_second.minimum == pytest.approx(1.0)
    assert decode.tpot_ms.median == pytest.approx(1500)
    assert decode.weight_bytes == weight_bytes(config, width, 2)
    assert decode.kv_bytes == kv_bytes(config, width, 2, 16 + 6 + 2.5)
    assert played.draws == [
        (0.0, 1.0, None),
        *[(0.5, 0.9, 3)] * 3,
    ]  # contexts are of one token each
    assert decode.read_bandwidth == 1e9
    assert decode.share == pytest.approx(decode.weight_bytes * 0.75 / 1e9)
    both = decode.weight_bytes + decode.kv_bytes
    assert decode.share_with_kv == pytest.approx(both * 0.75 / 1e9)


def test_what_memory_gave_is_measured_beside_each_repeat(tiny, monkeypatch):
    played = Played([[1.0, 2.0], [1.0, 2.0]], RUN, SLOW)
    monkeypatch.setattr(latency, "play", played)
    moments = iter([1e9, 3e9, 2e9, 6e9])  # behind the first and the ninth step of either repeat
    plan = LatencyPlan(batches=(2,), prompt=6, tokens=5, repeats=2)
    _, decode = list(LatencyBench(tiny, plan).run(CEILINGS, reads=lambda: next(moments)))
    assert isinstance(decode, DecodeResult)
    assert decode.read_bandwidth == pytest.approx((1.5e9 + 3e9) / 2)
    assert decode.share == pytest.approx(decode.weight_bytes * (1.0 / 1.5e9 + 0.5 / 3e9) / 2)


def test_contexts_come_first_and_every_prompt_is_new(tiny, monkeypatch):
    played = Played([[9.0], [9.0]], [[1.0, 2.0], [1.0, 2.0]], RUN, SLOW)
    monkeypatch.setattr(latency, "play", played)
    plan = LatencyPlan(batches=(2,), depths=(16,), prompt=6, tokens=9, repeats=2)
    list(LatencyBench(tiny, plan).run(CEILINGS))
    contexts, *rest = played.asked
    assert [len(prompt) for prompt in contexts[0]] == [16, 16]
    assert contexts[1:] == (1, 0)
    assert [(tokens, cached) for _, tokens, cached in rest] == [(4, 16), (9, 16), (9, 16)]
    for prompts, _, _ in rest:
        assert [prompt[:16] for prompt in prompts] == contexts[0]
    tails = [prompt[16:] for prompts, _, _ in rest for prompt in prompts]
    assert [len(tail) for tail in tails] == [6] * 6
    assert len(set(tails)) == 6


def test_sequences_that_do_not_run_side_by_side(tiny, monkeypatch):
    apart = [[1.0, 2.0], [2.0, 3.0]]
    monkeypatch.setattr(latency, "play", Played(apart, apart))
    with pytest.raises(CapacityError, match="batch: 2 sequences do not make tokens side by side"):
        list(LatencyBench(tiny, LatencyPlan(batches=(2,), prompt=1, repeats=1)).run(CEILINGS))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": 0}, "prompt"),
        ({"tokens": 1}, "tokens"),
        ({"repeats": 0}, "repeats"),
        ({"batches": (1, 0)}, "batch"),
        ({"depths": (0, 8)}, "depth"),
        ({"depths": (-16,)}, "depth"),
        ({"chunk": 0}, "chunk"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"logprobs": -1}, "logprobs"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict, field: str):
    with pytest.raises(RequestError, match=f"^{field}: "):
        LatencyPlan(**changes)


def test_a_context_that_the_model_lacks_is_refused(tiny):
    plan = LatencyPlan(depths=(tiny.network.config.max_position_embeddings,))
    with pytest.raises(RequestError, match=r"^depth: "):
        LatencyBench(tiny, plan)


def test_a_trace_is_a_short_run(tiny, monkeypatch):
    played = Played([[1.0]])
    monkeypatch.setattr(latency, "play", played)
    LatencyBench(tiny, LatencyPlan(tokens=100, prompt=3)).trace()
    ((prompts, tokens, cached),) = played.asked
    assert (len(prompts), tokens, cached) == (1, 8, 0)


@pytest.mark.parametrize("weights", ["int8", "auto"])
def test_rounded_weights_are_counted_as_such(own_tiny, monkeypatch, weights):
    """As soon as the engine is there, which "auto" has round where memory is short."""
    cpu_kernels.needed()
    ram = Memory("RAM", "cpu", own_tiny.nbytes, own_tiny.nbytes)
    monkeypatch.setattr(precision, "machine_memory", lambda: (ram,))
    plan = LatencyPlan(prompt=6, tokens=4, repeats=1, cpu_weights=weights, cpu_activations="int8")
    bench, whole = LatencyBench(own_tiny, plan), own_tiny.nbytes
    assert own_tiny.describe()["dense_weights"] == "bfloat16"
    core = bench.start()
    assert bench.start() is core
    assert core.config.cpu_activations == "int8"
    told = own_tiny.describe(plan.cpu_activations)
    assert (told["dense_weights"], told["activations"]) == ("int8", "int8")
    assert told["weight_bytes"] == own_tiny.nbytes < 0.8 * whole
    _, decode = list(bench.run(CEILINGS))
    assert isinstance(decode, DecodeResult)
    assert decode.weight_bytes == weight_bytes(own_tiny.network.config, 2, 1, int8=True)


def test_8_bit_floats_are_asked_of_the_engine_and_counted(own_tiny, monkeypatch):
    choice = Choice(operation="fp8", chosen=IMPLEMENTATIONS["fp8"][0], passed_over=())
    monkeypatch.setattr(fp8_weights, "choose", lambda *_: choice)
    plan = LatencyPlan(prompt=6, tokens=4, repeats=1, fp8_weights="unembedding,attention")
    _, decode = list(LatencyBench(own_tiny, plan).run(CEILINGS))
    assert isinstance(decode, DecodeResult)
    parts = {"unembedding", "attention"}
    assert own_tiny.fp8_parts == parts
    assert decode.weight_bytes == weight_bytes(own_tiny.network.config, 2, 1, fp8=parts)


def test_auto_leaves_weights_that_fit(own_tiny, monkeypatch):
    cpu_kernels.needed()
    ram = Memory("RAM", "cpu", 9 * own_tiny.nbytes, 9 * own_tiny.nbytes)
    monkeypatch.setattr(precision, "machine_memory", lambda: (ram,))
    bench = LatencyBench(own_tiny, LatencyPlan(prompt=6, tokens=4, repeats=1, cpu_weights="auto"))
    _, decode = list(bench.run(CEILINGS))
    assert isinstance(decode, DecodeResult)
    assert decode.weight_bytes == weight_bytes(own_tiny.network.config, 2, 1)
    assert own_tiny.describe()["dense_weights"] == "bfloat16"

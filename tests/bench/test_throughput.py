"""Throughput: what is run, counted and refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ossia.bench import throughput
from ossia.bench.ceilings import Ceilings
from ossia.bench.throughput import ThroughputBench, ThroughputPlan, default_plan
from ossia.engine.config import EngineConfig
from ossia.errors import RequestError
from support import cpu_kernels

PLAN = ThroughputPlan(num_prompts=7, input_len=6, output_len=5, max_sequences=3, chunk=8)


def test_all_requests_are_counted(tiny):
    result = ThroughputBench(tiny, PLAN).run()
    metrics = result.metrics
    assert (metrics.completed, metrics.failed) == (7, 0)
    assert (metrics.input_tokens, metrics.output_tokens) == (42, 35)
    assert metrics.tokens_per_piece == 1
    assert metrics.itl_ms is not None
    assert metrics.itl_ms.count == 7 * 4
    # Three side by side take three rounds; the warm-up is not among the passes.
    assert 3 * 5 <= result.steps <= 3 * 5 + 7
    assert result.preemptions == 0
    assert result.peak_resident_bytes > tiny.nbytes
    assert result.peak_device_bytes is None


def test_the_share_of_the_roofline_is_of_the_passes_that_were_timed(tiny):
    bench = ThroughputBench(tiny, PLAN)
    result = bench.run()
    assert result.roofline is None
    found = bench.compared(result, Ceilings(read_bandwidth=1e9, matrix_rate=1e30))
    roofline = found.roofline
    assert roofline is not None
    assert replace(found, roofline=None) == result
    assert len(bench._passes) == result.steps
    computed = sum(sum(one.counts) for one in bench._passes)
    assert computed == 7 * (6 + 5 - 1), "the last token of each is drawn only"
    assert sum(one.rows for one in bench._passes) == result.metrics.output_tokens
    read = roofline.weight_bytes + roofline.kv_bytes
    assert roofline.seconds == pytest.approx(read / 1e9)
    assert roofline.share == pytest.approx(roofline.seconds / result.metrics.duration)


def test_the_warm_up_meets_every_number_of_sequences(tiny, monkeypatch):
    seen: list[list[int]] = []
    play = throughput.play

    def spying(core, prompts, lengths, **options):
        seen.append(lengths)
        return play(core, prompts, lengths, **options)

    monkeypatch.setattr(throughput, "play", spying)
    ThroughputBench(tiny, PLAN).run()
    assert seen == [[2, 3, 4], 5]


def test_a_trace_stops_early(tiny, monkeypatch):
    steps: list[object] = []
    monkeypatch.setattr(throughput, "play", lambda *_, **options: steps.append(options))
    ThroughputBench(tiny, PLAN).trace()
    assert steps == [{"max_steps": 64}]


def test_defaults_suit_the_device():
    assert default_plan(torch.device("cuda")).num_prompts == 512
    assert default_plan(torch.device("cuda")).input_len == 1024
    assert default_plan(torch.device("cpu")).num_prompts < 64


@pytest.mark.parametrize(
    "name", ["num_prompts", "input_len", "output_len", "max_sequences", "chunk"]
)
def test_what_cannot_be_run_is_refused(name: str):
    given = {"num_prompts": 1, "input_len": 1, "output_len": 1, "max_sequences": 1, "chunk": 1}
    with pytest.raises(RequestError, match=f"^{name.replace('_', '-')}: 0 is too few"):
        ThroughputPlan(**given | {name: 0})


def test_a_context_that_the_model_lacks_is_refused(tiny):
    plan = ThroughputPlan(num_prompts=1, input_len=131_072, output_len=1, max_sequences=1, chunk=8)
    with pytest.raises(RequestError, match=r"^input-len: "):
        ThroughputBench(tiny, plan)


def test_a_deterministic_engine_is_measured_if_asked_for(own_tiny):
    bench = ThroughputBench(own_tiny, replace(PLAN, deterministic=True))
    assert bench.run().metrics.completed == 7
    assert bench._config.deterministic


def test_the_precision_is_the_plan_s(own_tiny, monkeypatch):
    cpu_kernels.needed()
    configs: list[EngineConfig] = []
    core_for = throughput.core_for

    def noting(network, config):
        configs.append(config)
        return core_for(network, config)

    monkeypatch.setattr(throughput, "core_for", noting)
    plan = replace(PLAN, cpu_weights="int8", cpu_activations="int8")
    bench = ThroughputBench(own_tiny, plan)
    assert bench.run().metrics.completed == 7
    assert own_tiny.is_int8
    bench.trace()
    assert [(one.cpu_weights, one.cpu_activations) for one in configs] == [("int8", "int8")] * 2

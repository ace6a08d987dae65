"""A decode step in parts: the parts are the step's, and read what it must."""

from __future__ import annotations

import importlib
import itertools

import pytest
import torch

from ossia.bench import operations, timing
from ossia.bench.ceilings import Ceilings
from ossia.bench.operations import batch_of, operations_of, time_operations
from ossia.bench.roofline import kv_bytes, weight_bytes
from ossia.bench.step_times import time_step, why_not_graph
from ossia.bench.subject import load_subject
from ossia.errors import RequestError
from ossia.kernels.decode import FEW_TOKENS
from ossia.model.decode_step import DecodeStep, relay_weights
from ossia.model.heads import CausalLM

CEILINGS = Ceilings(read_bandwidth=1e9, matrix_rate=1e10)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_parts_read_what_the_step_must(batch: int, dtype: str):
    subject = load_subject("random:tiny", device="cpu", dtype=dtype, threads=1)
    with torch.inference_mode():
        parts, distinct = operations_of(subject.network, batch_of(subject.network, batch, 20))
    total = sum(part.nbytes or 0 for part in parts)
    config, itemsize = subject.network.config, subject.dtype.itemsize
    keys = kv_bytes(config, itemsize, batch, 20)
    assert total == pytest.approx(weight_bytes(config, itemsize, batch, distinct) + keys)
    (attention,) = (part for part in parts if part.name == "attention")
    assert keys < (attention.nbytes or 0) < 1.1 * keys, "and the sinks"
    calls = {part.name: len(part.calls) for part in parts}
    layers = config.num_hidden_layers
    assert calls["norm"] == 2 * layers + 1
    assert calls["q, k, v"] == 3 * layers
    assert calls["experts"] == calls["attention"] == calls["output"] == layers
    assert calls["unembedding"] == 1


def test_the_parts_are_the_operations_of_a_forward_pass(tiny, monkeypatch):
    """Each kernel of a pass is called as often as the parts say."""
    counts: dict[str, int] = {}

    def counted(name: str, run):
        def call(*arguments, **options):
            counts[name] = counts.get(name, 0) + 1
            return run(*arguments, **options)

        return call

    for folder, function, name in [
        ("attention", "attend_paged", "attention"),
        ("kv_write", "rotate_and_write", "rope, KV write"),
        ("moe", "run_experts", "experts"),
    ]:
        for way in ("reference", "cpu"):
            module = importlib.import_module(f"ossia.kernels.{folder}.{way}")
            monkeypatch.setattr(module, function, counted(name, getattr(module, function)))
    model = tiny.network
    with torch.inference_mode():
        step = batch_of(model, 2, 20)
        assert model(step).shape == (2, model.config.vocab_size)
        whole, _ = dict(counts), counts.clear()
        for part in operations_of(model, step)[0]:
            for call in part.calls:
                call()
    assert counts == whole
    assert set(counts) == {"attention", "rope, KV write", "experts"}


def test_figures_from_a_clock_that_is_known(tiny, monkeypatch):
    ticks = itertools.count(step=3)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    found = time_operations(tiny.network, 2, 20, bandwidth=50.0, repeats=2)
    assert found.step_seconds == 3
    assert found.sum_seconds == pytest.approx(3 * len(found.kernels))
    by_name = {kernel.name: kernel for kernel in found.kernels}
    norm = by_name["norm"]
    assert norm.seconds == pytest.approx(3 / norm.calls)
    assert norm.read_bytes is not None
    assert norm.share == pytest.approx(norm.read_bytes / norm.seconds / 50)
    assert by_name["argmax"].share is None
    assert found.share == pytest.approx(found.weight_bytes / 3 / 50)
    assert found.kv_bytes == kv_bytes(tiny.network.config, 2, 2, 20)
    assert found.weight_bytes == pytest.approx(
        weight_bytes(tiny.network.config, 2, 2, found.distinct_experts)
    )
    assert found.share_with_kv == pytest.approx((found.weight_bytes + found.kv_bytes) / 3 / 50)
    assert (found.way, found.batch, found.context) == ("operations", 2, 20)


def test_a_step_on_the_cpu_is_timed_by_its_operations(tiny):
    assert why_not_graph(tiny) == "needs a CUDA device"
    found = time_step(tiny, 1, 9, CEILINGS, 1)
    assert found.way == "operations"
    assert found.distinct_experts == tiny.network.config.experts_per_token
    assert all(kernel.seconds > 0 for kernel in found.kernels)


def test_a_context_that_the_model_lacks_is_refused(tiny):
    with pytest.raises(RequestError, match=r"^context: "):
        time_step(tiny, 1, 131_073, CEILINGS, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_launches_of_a_step_on_a_gpu(batch: int):
    subject = load_subject("random:tiny", device="cuda")
    assert why_not_graph(subject) is None
    found = time_step(subject, batch, 50, CEILINGS, 3)
    assert found.way == "graph"
    names = [kernel.name for kernel in found.kernels]
    assert names[0] == "embed"
    assert names[-2:] == ["unembedding", "argmax"]
    assert ("dispatch" in names) == (DecodeStep.size_for(batch) > FEW_TOKENS)
    assert all(kernel.seconds > 0 for kernel in found.kernels)
    layers = [kernel for kernel in found.kernels if kernel.calls == 2]
    assert all(kernel.in_place is not None for kernel in layers)
    by_name = {kernel.name: kernel for kernel in found.kernels}
    config = subject.network.config
    assert found.kv_bytes == kv_bytes(config, 2, batch, 50)
    attention = by_name["attention"]
    assert attention.read_bytes == found.kv_bytes / config.num_hidden_layers
    assert attention.share is not None
    assert 2 <= found.distinct_experts <= 4


@pytest.mark.gpu
def test_operations_run_on_a_gpu_too():
    subject = load_subject("random:tiny", device="cuda")
    relay_weights(subject.network)
    found = operations.time_operations(subject.network, 3, 50, 1e12, 3)
    assert all(kernel.seconds > 0 for kernel in found.kernels)
    assert isinstance(subject.network, CausalLM)

"""What passes need of a device, against sums by hand."""

from __future__ import annotations

import pytest

from ossia.api.runtime import core_for
from ossia.bench.ceilings import Ceilings
from ossia.bench.passes import Pass, Roofline, note_passes
from ossia.bench.playing import play
from ossia.bench.roofline import pass_flops, pass_kv_bytes, weight_bytes
from ossia.engine.config import EngineConfig

# A prompt that is not at its end, two that decode, and one of each kind.
PASSES = [Pass([900], [0], 0), Pass([1, 1], [30, 7], 2), Pass([50, 1], [0, 8], 2)]


def test_an_engine_s_passes_are_noted(tiny):
    config = EngineConfig(
        num_pages=100, max_sequences=2, max_batch_tokens=8, prefill_chunk=8, prefix_reuse=False
    )
    core = core_for(tiny.network, config)
    play(core, [(1, 2)], 2)  # before anybody looks
    passes = note_passes(core)
    steps = core.stats().steps
    play(core, [tuple(range(12))], 3)
    assert core.stats().steps - steps == len(passes)
    found = [(list(one.counts), list(one.before), one.rows) for one in passes]
    assert found == [([8], [0], 0), ([4], [8], 1), ([1], [12], 1), ([1], [13], 1)]


@pytest.mark.parametrize(("bandwidth", "rate"), [(1e9, 1e30), (1e30, 1e9), (1e9, 1e10)])
def test_of_each_pass_the_longer_counts(tiny, bandwidth: float, rate: float):
    config = tiny.network.config
    reads = [
        weight_bytes(config, 2, sum(one.counts), unembedding=one.rows > 0)
        + pass_kv_bytes(config, 2, one.counts, one.before)
        for one in PASSES
    ]
    products = [pass_flops(config, one.counts, one.before, one.rows) for one in PASSES]
    found = Roofline.of(PASSES, tiny, "auto", Ceilings(bandwidth, rate), 8.0)
    assert found.weight_bytes + found.kv_bytes == pytest.approx(sum(reads))
    assert found.flops == pytest.approx(sum(products))
    expected = sum(
        max(read / bandwidth, product / rate) for read, product in zip(reads, products, strict=True)
    )
    assert found.seconds == pytest.approx(expected)
    assert found.share == pytest.approx(expected / 8)


def test_some_passes_are_bound_by_reads_and_some_by_products(tiny):
    """Else the third case above could not tell a sum of the longer from the longer of two sums."""
    ceilings = Ceilings(1e9, 1e10)
    both = Roofline.of(PASSES, tiny, "auto", ceilings, 1.0)
    reads = (both.weight_bytes + both.kv_bytes) / ceilings.read_bandwidth
    assert both.seconds > 1.01 * max(reads, both.flops / ceilings.matrix_rate)


def test_keys_and_values_count_as_they_are_stored(tiny):
    found = [
        Roofline.of(PASSES, tiny, kind, Ceilings(1e9, 1e30), 1.0).kv_bytes
        for kind in ("auto", "int8")
    ]
    assert 0.5 < found[1] / found[0] < 0.7

"""Sums of the residual stream joined with the norms behind them: the same bits, unless somebody looks."""

from __future__ import annotations

import pytest
import torch

from ossia.bench.subject import load_subject
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM

IDS = [[3, 7, 11, 2, 9], [5], [8, 1]]


def _network(dtype: str, device: str) -> CausalLM:
    return load_subject(
        "random:tiny", device=device, dtype=dtype, threads=1 if device == "cpu" else None
    ).network


def _separate(network: CausalLM, batch: ForwardBatch) -> torch.Tensor:
    """As somebody sees it who looks at a layer."""
    handle = network.model.layers[0].register_forward_hook(lambda *_: None)
    try:
        return network.model.run(batch)
    finally:
        handle.remove()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_same_bits(dtype):
    network = _network(dtype, "cpu")
    decoder = network.model
    batch = ForwardBatch.from_sequences(IDS)
    with torch.inference_mode():
        x, rope = decoder.embed_tokens(batch.input_ids), decoder.rotary(batch.positions)
        assert torch.equal(decoder.run_joined(x, rope, batch), decoder.run(batch))


@pytest.mark.gpu
def test_the_same_bits_on_a_gpu():
    network = _network("bfloat16", "cuda")
    batch = ForwardBatch.from_sequences(IDS, device=torch.device("cuda"))
    with torch.inference_mode():
        assert torch.equal(network.model.run(batch), _separate(network, batch))


@pytest.mark.parametrize("place", ["layer", "norm", "replaced", "nobody"])
def test_nothing_is_joined_while_somebody_looks(place):
    decoder = _network("bfloat16", "cpu").model
    batch, layer = ForwardBatch.from_sequences(IDS), decoder.layers[-1]
    if place == "layer":
        layer.register_forward_hook(lambda *_: None)
    elif place == "norm":
        layer.post_attention_layernorm.register_forward_pre_hook(lambda *_: None)
    elif place == "replaced":
        layer.forward = layer.forward
    with torch.no_grad():
        assert decoder._may_join(batch) is (place == "nobody")
    assert not decoder._may_join(batch), "gradients go through modules"

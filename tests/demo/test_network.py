"""What is trained is what is run: the training network against Ossia's model, through the file."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from demo.average import averaged
from demo.conversations import example
from demo.export import packed_model, restore
from demo.muon import Muon
from demo.network import CONFIG, Network, hidden_states, rope_of, visibility
from demo.own_tokens import NUM_OWN, own_tokens
from demo.rounding import integer_rounded, mxfp4_rounded, straight_through
from hypothesis import given
from hypothesis import strategies as st

from ossia.demo.packing import pack_model, unpack_model
from ossia.demo.weights import checkpoint_tensors
from ossia.kernels.mxfp4 import pack, unpack
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM

SMALL = replace(
    CONFIG, num_hidden_layers=2, layer_types=(), hidden_size=32, intermediate_size=32,
    head_dim=16, num_attention_heads=4, num_key_value_heads=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network(SMALL, NUM_OWN)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network


def test_packed_weights_compute_what_the_network_computes(network):
    tensors = dict(checkpoint_tensors(unpack_model(pack_model(packed_model(network)))))
    widened = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    model = CausalLM(SMALL)
    model.load_state_dict(widened)
    rng = Random(0)
    sequences = [example(rng)[0][:180] for _ in range(3)]
    with torch.no_grad():
        expected = model.model.run(ForwardBatch.from_sequences(sequences))
        weights = network.weights(rounded=True)
        for name, value in weights.items():
            if value.ndim > 1 and name not in ("gate_up", "down"):
                weights[name] = value.bfloat16().float()  # as the checkpoint stores them
        weights["final_norm"] = weights["final_norm"].bfloat16().float()
        ids = torch.tensor([[i for ids in sequences for i in ids]])
        segments = torch.tensor([[n for n, ids in enumerate(sequences) for _ in ids]])
        positions = torch.tensor([[i for ids in sequences for i in range(len(ids))]])
        masks = [visibility(segments, SMALL.sliding_window), visibility(segments, None)]
        embeds = widened["model.embed_tokens.weight"][ids]
        rope = rope_of(SMALL, positions)
        states, _ = hidden_states(SMALL, weights, embeds, rope, masks, torch.float32)
    torch.testing.assert_close(states[0], expected, atol=2e-4, rtol=1e-4)


def test_restoring_a_packed_model_and_packing_it_again_changes_nothing(network):
    first = packed_model(network)
    other = Network(SMALL, NUM_OWN)
    restore(other, first)
    second = packed_model(other)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array)


def test_the_average_lies_between(network):
    zero = Network(SMALL, NUM_OWN)
    with torch.no_grad():
        for parameter in zero.parameters():
            parameter.zero_()
    mean = averaged(network, zero, share=0.25)
    torch.testing.assert_close(mean.q, network.q * 0.25)


@given(seed=st.integers(0, 2**31), exponent=st.integers(-20, 20))
def test_fused_mxfp4_rounding_is_pack_and_unpack(seed, exponent):
    values = torch.randn(4, 64, generator=torch.Generator().manual_seed(seed)) * 2.0**exponent
    expected = unpack(*pack(values), torch.float32)
    torch.testing.assert_close(mxfp4_rounded(values), expected, rtol=0, atol=0)


def test_rounding_lets_gradients_through():
    values = torch.randn(3, 32, requires_grad=True)
    rounded = straight_through(values, integer_rounded(values))
    rounded.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(values))
    assert (rounded - values).abs().max() <= values.abs().max() / 62 + 1e-6


def test_muon_makes_the_loss_fall_and_decay_shrinks_unused_weights():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(2, 8, 4))
    target = torch.randn(2, 8, 4)
    optimizer = Muon([weight], lr=0.05)
    losses = []
    for _ in range(60):
        loss = (weight - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    optimizer.state.clear()
    optimizer.step()
    assert (weight.abs() <= before.abs()).all()


def test_own_tokens_are_sorted_and_distinct():
    assert len(own_tokens()) == NUM_OWN == len(set(own_tokens()))
    assert list(own_tokens()) == sorted(own_tokens())

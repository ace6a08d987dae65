"""Norm, routing and experts against their formulas, token by token in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import library

from ossia.kernels.moe import ExpertWeights, clamped_swiglu, opaque, run_experts
from ossia.kernels.mxfp4 import Mxfp4Tensor, pack, relay, unpack
from ossia.kernels.norm import rms_norm
from ossia.kernels.routing import route
from support.tolerances import assert_near

fuzz = settings(max_examples=30, deadline=None)


def _swiglu(row: list[float]) -> list[float]:
    out = []
    for gate, up in zip(row[0::2], row[1::2], strict=True):
        gate, up = min(gate, 7.0), max(-7.0, min(7.0, up))
        out.append(gate / (1.0 + math.exp(-1.702 * gate)) * (up + 1.0))
    return out


def _defined(x, expert_ids, weights, dense: ExpertWeights) -> torch.Tensor:
    """One token and one expert at a time; the matrices dense (experts, in, out)."""
    out = torch.zeros(x.shape, dtype=torch.float64)
    for token in range(x.shape[0]):
        for expert, weight in zip(expert_ids[token].tolist(), weights[token].tolist(), strict=True):
            hidden = x[token].double() @ dense.gate_up[expert].double()
            hidden = hidden + dense.gate_up_bias[expert].double()
            activated = torch.tensor(_swiglu(hidden.tolist()), dtype=torch.float64)
            said = activated @ dense.down[expert].double() + dense.down_bias[expert].double()
            out[token] += weight * said
    return out


def _dense_experts(num_experts: int, hidden: int, ffn: int) -> ExpertWeights:
    return ExpertWeights(
        gate_up=torch.randn(num_experts, hidden, 2 * ffn) * hidden**-0.5 * 3,
        gate_up_bias=torch.randn(num_experts, 2 * ffn),
        down=torch.randn(num_experts, ffn, hidden) * ffn**-0.5,
        down_bias=torch.randn(num_experts, hidden),
        alpha=1.702,
        limit=7.0,
    )


@fuzz
@given(
    tokens=st.integers(0, 9),
    num_experts=st.integers(1, 7),
    hidden=st.integers(1, 33),
    ffn=st.integers(1, 17),
    seed=st.integers(0, 2**31),
)
def test_dense_experts(tokens, num_experts, hidden, ffn, seed):
    torch.manual_seed(seed)
    experts = _dense_experts(num_experts, hidden, ffn)
    x = torch.randn(tokens, hidden)
    weights, expert_ids = route(torch.randn(tokens, num_experts), min(3, num_experts))
    out = run_experts(x, expert_ids, weights, experts)
    assert out.shape == x.shape
    if tokens:
        assert_near(out, _defined(x, expert_ids, weights, experts))


def test_packed_experts_equal_their_expansion():
    torch.manual_seed(1)

    def packed(*shape: int) -> Mxfp4Tensor:
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
        return Mxfp4Tensor(blocks, torch.randint(118, 124, shape, dtype=torch.uint8))

    gate_up, down = packed(5, 2 * 96, 2), packed(5, 64, 3)
    base = _dense_experts(5, 64, 96)
    shared = {
        "gate_up_bias": base.gate_up_bias,
        "down_bias": base.down_bias,
        "alpha": 1.702,
        "limit": 7.0,
    }
    dense = ExpertWeights(
        gate_up=unpack(*gate_up, torch.float32).transpose(1, 2),
        down=unpack(*down, torch.float32).transpose(1, 2),
        **shared,
    )
    x = torch.randn(6, 64)
    weights, expert_ids = route(torch.randn(6, 5), 2)
    out = run_experts(x, expert_ids, weights, ExpertWeights(gate_up=gate_up, down=down, **shared))
    assert_near(out, _defined(x, expert_ids, weights, dense))


def test_only_chosen_experts_are_expanded(monkeypatch):
    import ossia.kernels.moe.reference as reference

    expanded = []

    def spy(blocks, scales, dtype):
        expanded.append(blocks.data_ptr())
        return unpack(blocks, scales, dtype)

    monkeypatch.setattr(reference, "unpack", spy)
    blocks = torch.zeros(8, 64, 1, 16, dtype=torch.uint8)
    matrix = Mxfp4Tensor(blocks, torch.full((8, 64, 1), 127, dtype=torch.uint8))
    down = Mxfp4Tensor(blocks[:, :32], matrix.scales[:, :32])
    experts = ExpertWeights(
        gate_up=matrix,
        gate_up_bias=torch.zeros(8, 64),
        down=down,
        down_bias=torch.zeros(8, 32),
        alpha=1.702,
        limit=7.0,
    )
    run_experts(torch.randn(3, 32), torch.tensor([[2], [5], [2]]), torch.ones(3, 1), experts)
    assert expanded == [
        blocks[2].data_ptr(),
        blocks[2].data_ptr(),
        blocks[5].data_ptr(),
        blocks[5].data_ptr(),
    ]


@fuzz
@given(st.integers(0, 2**31))
def test_swiglu_clamps(seed):
    torch.manual_seed(seed)
    x = torch.randn(3, 10) * 8
    expected = torch.tensor([_swiglu(row) for row in x.double().tolist()], dtype=torch.float64)
    assert_near(clamped_swiglu(x, 1.702, 7.0), expected)


@fuzz
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_routing(tokens, num_experts, seed):
    torch.manual_seed(seed)
    logits = torch.randn(tokens, num_experts)
    top_k = min(4, num_experts)
    weights, expert_ids = route(logits, top_k)
    for row, ids, given_weights in zip(logits.tolist(), expert_ids.tolist(), weights, strict=True):
        best = sorted(range(num_experts), key=lambda i: -row[i])[:top_k]
        assert ids == best
        shares = torch.tensor([math.exp(row[i]) for i in best], dtype=torch.float64)
        assert_near(given_weights, shares / shares.sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rms_norm(dtype):
    x, weight = torch.randn(5, 31).to(dtype), torch.randn(31).to(dtype)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    assert_near(rms_norm(x, weight, 1e-5), expected)


def test_rms_norm_of_tiny_bfloat16_values_does_not_vanish():
    x = torch.full((1, 64), 1e-3, dtype=torch.bfloat16)
    expected = 1e-3 / math.sqrt(1e-6 + 1e-5)
    out = rms_norm(x, torch.ones(64, dtype=torch.bfloat16), 1e-5)
    assert out[0, 0].item() == pytest.approx(expected, rel=1e-2)


# The check itself looks up what it has left transposed.
@pytest.mark.filterwarnings(r"ignore:torch\.searchsorted:UserWarning")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("tokens", [0, 5])
def test_the_opaque_operation_keeps_torchs_contract(packed, tokens):
    """Schema, shapes while tracing, gradients while tracing: torch's own check of an operation."""
    torch.manual_seed(1)
    dense = _dense_experts(3, 32, 32)
    gate_up, gate_scales, down, down_scales = dense.gate_up, None, dense.down, None
    if packed:
        gate_up, gate_scales = pack(gate_up.transpose(1, 2))
        down, down_scales = pack(down.transpose(1, 2))
    floats = [torch.randn(tokens, 32), torch.rand(tokens, 2)]
    floats += [gate_up, dense.gate_up_bias, down, dense.down_bias]
    for part in floats:
        part.requires_grad_(part.is_floating_point())
    expert_ids = torch.randint(0, 3, (tokens, 2))
    arguments = (*floats, expert_ids, gate_scales, down_scales, 1.702, 7.0, False, False)
    library.opcheck(torch.ops.ossia.moe_layer.default, arguments)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_of_the_opaque_operation(packed):
    torch.manual_seed(2)
    experts = _dense_experts(4, 32, 32)
    if packed:
        packs = [pack(matrix.transpose(1, 2)) for matrix in (experts.gate_up, experts.down)]
        experts = replace(experts, gate_up=packs[0], down=packs[1])
    x, weights = torch.randn(6, 32), torch.rand(6, 2)
    expert_ids = torch.tensor([[0, 1], [1, 0], [3, 0], [0, 3], [1, 3], [3, 1]])  # 2 is idle
    leaves = [x, weights, experts.gate_up_bias, experts.down_bias]
    leaves += [] if packed else [experts.gate_up, experts.down]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = run_experts(x, expert_ids, weights, experts)
    actual = opaque.run_experts(x, expert_ids, weights, experts)
    assert torch.equal(actual, expected)
    grad = torch.randn(6, 32)
    for ours, theirs in zip(
        torch.autograd.grad(actual, leaves, grad),
        torch.autograd.grad(expected, leaves, grad),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_relaid_experts_are_not_compiled():
    dense = _dense_experts(2, 64, 64)
    packs = [pack(matrix.transpose(1, 2)) for matrix in (dense.gate_up, dense.down)]
    relaid = replace(
        dense, gate_up=relay(packs[0], paired=True), down=relay(packs[1], paired=False)
    )
    with pytest.raises(TypeError, match="load the model anew"):
        opaque.run_experts(torch.zeros(1, 64), torch.zeros(1, 2).long(), torch.ones(1, 2), relaid)

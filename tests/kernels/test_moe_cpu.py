"""The experts by the CPU kernels against their definition, for every instruction set of this machine."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.errors import KernelError
from ossia.kernels.moe import ExpertWeights, cpu, reference, run_experts
from ossia.kernels.moe.reference import rounded_to_int8
from ossia.kernels.mxfp4 import InterleavedMxfp4, Mxfp4Tensor, interleave
from ossia.kernels.routing import route
from support import cpu_kernels
from support.tolerances import INT8_ACTIVATIONS, assert_near

DTYPES = [torch.float32, torch.bfloat16]
isas = pytest.mark.parametrize("isa", cpu_kernels.runnable_isas() or ["none"])
fuzz = settings(max_examples=15)


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


def _packed(*shape: int) -> Mxfp4Tensor:
    return Mxfp4Tensor(
        torch.randint(0, 256, (*shape, 16), dtype=torch.uint8),
        torch.randint(118, 124, shape, dtype=torch.uint8),
    )


def _layer(num_experts: int, hidden: int, ffn: int, dtype: torch.dtype) -> ExpertWeights:
    return ExpertWeights(
        gate_up=_packed(num_experts, 2 * ffn, hidden // 32),
        gate_up_bias=torch.randn(num_experts, 2 * ffn).to(dtype),
        down=_packed(num_experts, hidden, ffn // 32),
        down_bias=torch.randn(num_experts, hidden).to(dtype),
        alpha=1.702,
        limit=7.0,
    )


def _interleaved(experts: ExpertWeights) -> ExpertWeights:
    assert isinstance(experts.gate_up, Mxfp4Tensor)
    assert isinstance(experts.down, Mxfp4Tensor)
    return replace(
        experts,
        gate_up=interleave(experts.gate_up, paired=True),
        down=interleave(experts.down, paired=False),
    )


def _defined(x, expert_ids, weights, experts: ExpertWeights) -> torch.Tensor:
    """The reference in float64."""
    wide = replace(
        experts,
        gate_up_bias=experts.gate_up_bias.double(),
        down_bias=experts.down_bias.double(),
    )
    return reference.run_experts(x.double(), expert_ids, weights.double(), wide)


@isas
@pytest.mark.parametrize("dtype", DTYPES)
@fuzz
@given(
    tokens=st.integers(1, 40),
    num_experts=st.integers(1, 7),
    hidden=st.integers(1, 9).map(lambda groups: 32 * groups),
    ffn=st.integers(1, 9).map(lambda groups: 32 * groups),
    threads=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_full_activations(isa, dtype, tokens, num_experts, hidden, ffn, threads, seed):
    torch.manual_seed(seed)
    experts = _layer(num_experts, hidden, ffn, dtype)
    x = torch.randn(tokens, hidden).to(dtype)
    weights, expert_ids = route(torch.randn(tokens, num_experts).to(dtype), min(4, num_experts))
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa):
        patched.setattr(cpu, "num_threads", lambda: threads)
        out = cpu.run_experts(x, expert_ids, weights, _interleaved(experts))
    assert out.dtype is dtype
    assert_near(out, _defined(x, expert_ids, weights, experts))


@isas
@pytest.mark.parametrize("dtype", DTYPES)
@fuzz
@given(
    tokens=st.integers(1, 20),
    hidden=st.integers(1, 9).map(lambda groups: 32 * groups),
    ffn=st.integers(1, 9).map(lambda groups: 32 * groups),
    spread=st.floats(0.0, 8.0),
    seed=st.integers(0, 2**31),
)
def test_int8_activations(isa, dtype, tokens, hidden, ffn, spread, seed):
    torch.manual_seed(seed)
    experts = replace(_layer(5, hidden, ffn, dtype), int8_activations=True)
    x = torch.randn(tokens, hidden) * torch.exp2(torch.randn(tokens, hidden) * spread).clamp(max=99)
    x = x.to(dtype)
    weights, expert_ids = route(torch.randn(tokens, 5).to(dtype), 3)
    with cpu_kernels.needed().using(isa):
        out = cpu.run_experts(x, expert_ids, weights, _interleaved(experts))
    expected = _defined(x, expert_ids, weights, experts)
    error = (out.double() - expected).abs().max() / expected.abs().max()
    assert error <= INT8_ACTIVATIONS[dtype]


@isas
def test_int8_products_are_exact(isa):
    """Integers with a scale of 1 enter, and clamped values leave the SwiGLU: nothing is rounded twice."""
    experts = replace(_layer(3, 160, 96, torch.float32), int8_activations=True)
    sign = torch.randint(0, 2, (3, 96)) * 2.0 - 1.0
    experts.gate_up_bias[:, 0::2] = 1e6
    experts.gate_up_bias[:, 1::2] = 1e6 * sign
    x = torch.randint(-127, 128, (9, 160)).float()
    x[:, ::32] = 127.0
    weights, expert_ids = route(torch.randn(9, 3), 2)
    with cpu_kernels.needed().using(isa):
        out = cpu.run_experts(x, expert_ids, weights, _interleaved(experts))
    assert_near(out, _defined(x, expert_ids, weights, experts))


@isas
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("int8", [False, True])
def test_a_token_gets_the_same_whoever_comes_with_it(isa, dtype, int8):
    """More tokens than are taken at once, the same among others, and each by itself: bit for bit the same.

    Not by itself where the set has another product for many tokens.
    """
    experts = replace(_interleaved(_layer(6, 64, 96, dtype)), int8_activations=int8)
    x, others = torch.randn(2, 1100, 64).to(dtype)
    weights, expert_ids = route(torch.randn(1100, 6).to(dtype), 4)
    tokens = [0, 1, 511, 512, 513, 1099]
    others[tokens] = x[tokens]
    with cpu_kernels.needed().using(isa):
        together = cpu.run_experts(x, expert_ids, weights, experts)[tokens]
        assert torch.equal(cpu.run_experts(others, expert_ids, weights, experts)[tokens], together)
        if isa == "amx" and dtype is torch.bfloat16:
            return
        alone = [
            cpu.run_experts(x[[token]], expert_ids[[token]], weights[[token]], experts)
            for token in tokens
        ]
        assert torch.equal(torch.cat(alone), together)


@isas
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("tokens", [1, 3])
def test_every_scale_and_code(isa, int8, groups, tokens):
    """The whole range of scales: subnormal ones, and the one that means NaN."""
    columns = 32 * groups
    experts = replace(_layer(1, columns, 32, torch.float32), int8_activations=int8)
    codes = torch.arange(256, dtype=torch.uint8).repeat(2).view(32, 1, 16)
    down = Mxfp4Tensor(codes.repeat(groups, 1, 1)[None], torch.full((1, columns, 1), 127).byte())
    gate_up = codes.repeat(2, groups, 1)[None]
    for byte in (0, 1, 64, 126, 128, 190):
        scales = torch.full((1, 64, groups), byte, dtype=torch.uint8)
        some = replace(experts, gate_up=Mxfp4Tensor(gate_up, scales), down=down,
                       gate_up_bias=torch.zeros(1, 64), down_bias=torch.zeros(1, columns))  # fmt: skip
        x = torch.randn(tokens, columns) * 2.0 ** min(127 - byte, 60)
        x[0, 5:] = 0.0
        once = torch.ones(tokens, 1), torch.zeros(tokens, 1, dtype=torch.int64)
        with cpu_kernels.needed().using(isa):
            out = cpu.run_experts(x, once[1], once[0], _interleaved(some))
        expected = _defined(x, once[1], once[0], some)
        limit = INT8_ACTIVATIONS[torch.float32] if int8 else 2e-5
        assert (out.double() - expected).abs().max() <= limit * expected.abs().max()
    for group in range(groups):
        spoiled = scales.clone()
        spoiled[0, 7, group] = 255
        some = replace(some, gate_up=Mxfp4Tensor(gate_up, spoiled))
        with cpu_kernels.needed().using(isa):
            out = cpu.run_experts(x, once[1], once[0], _interleaved(some))
        assert out.isnan().all()


@isas
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_hidden(isa, dtype, int8, bad):
    experts = replace(_interleaved(_layer(2, 64, 64, dtype)), int8_activations=int8)
    x = torch.randn(3, 64).to(dtype)
    x[1, 40] = bad
    weights, expert_ids = route(torch.randn(3, 2).to(dtype), 2)
    with cpu_kernels.needed().using(isa):
        out = cpu.run_experts(x, expert_ids, weights, experts)
    assert not out[1].isfinite().any() or math.isinf(bad)
    assert not out[1].isfinite().all()
    assert out[[0, 2]].isfinite().all()


def test_rounding_to_int8():
    x = torch.zeros(2, 64)
    x[0, :3] = torch.tensor([127.0, 0.5, 1.5])  # ties go to even
    x[1, 32] = -2.0
    x[1, 40] = 1e-3
    rounded = rounded_to_int8(x)
    assert rounded[0, :3].tolist() == [127.0, 0.0, 2.0]
    assert rounded[1, 32] == -2.0
    assert rounded[1, 40] == 0.0
    assert (rounded[1, :32] == 0).all()
    values = torch.randn(50, 96)
    step = values.unflatten(1, (3, 32)).abs().amax(-1, keepdim=True) / 127
    error = (rounded_to_int8(values) - values).unflatten(1, (3, 32)).abs()
    assert (error <= step * 0.5001).all()
    values[3, 50] = math.inf
    assert rounded_to_int8(values)[3, 32:64].isnan().all()


def test_experts_that_do_not_exist():
    experts = _interleaved(_layer(2, 32, 32, torch.float32))
    for expert in (-1, 2):
        with pytest.raises(KernelError, match="an expert's number is out of range"):
            cpu.run_experts(torch.randn(1, 32), torch.tensor([[expert]]), torch.ones(1, 1), experts)


class TestChoice:
    """Which calls go to the kernels."""

    @pytest.fixture
    def taken(self, monkeypatch):
        calls: list[torch.dtype] = []
        run = cpu.run_experts

        def noted(x, *others):
            calls.append(x.dtype)
            return run(x, *others)

        monkeypatch.setattr(cpu, "run_experts", noted)
        return calls

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_without_gradients(self, taken, dtype):
        experts = _layer(4, 64, 96, dtype)
        x = torch.randn(5, 64).to(dtype)
        weights, expert_ids = route(torch.randn(5, 4).to(dtype), 2)
        with torch.no_grad():
            out = run_experts(x, expert_ids, weights, _interleaved(experts))
        assert taken == [dtype]
        assert_near(out, _defined(x, expert_ids, weights, experts))

    def test_others_go_to_the_reference(self, taken):
        experts = _layer(4, 64, 96, torch.float64)
        x = torch.randn(5, 64, dtype=torch.float64)
        weights, expert_ids = route(torch.randn(5, 4, dtype=torch.float64), 2)
        expected = _defined(x, expert_ids, weights, experts)
        with torch.no_grad():
            assert torch.equal(run_experts(x, expert_ids, weights, _interleaved(experts)), expected)
            nobody = run_experts(x[:0], expert_ids[:0], weights[:0], _interleaved(experts))
        assert nobody.shape == (0, 64)
        assert not taken

    def test_gradients_flow(self, taken):
        experts = _layer(4, 64, 96, torch.float32)
        grads = []
        for some in (experts, _interleaved(experts)):
            torch.manual_seed(1)
            x = torch.randn(5, 64, requires_grad=True)
            weights, expert_ids = route(torch.randn(5, 4), 2)
            run_experts(x, expert_ids, weights, some).sum().backward()
            grads.append(x.grad)
        assert torch.equal(*grads)
        assert not taken

    def test_compiled(self, taken):
        experts = _layer(4, 64, 96, torch.float32)
        x = torch.randn(5, 64)
        weights, expert_ids = route(torch.randn(5, 4), 2)
        interleaved = replace(_interleaved(experts), int8_activations=True)
        assert isinstance(interleaved.gate_up, InterleavedMxfp4)
        compiled = torch.compile(
            lambda x: run_experts(x, expert_ids, weights, interleaved),
            backend="eager",
            fullgraph=True,
        )
        with torch.no_grad():
            assert torch.equal(compiled(x), run_experts(x, expert_ids, weights, interleaved))
        assert taken == [torch.float32] * 2

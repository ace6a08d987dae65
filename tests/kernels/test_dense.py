"""Linear layers by the CPU kernels against their definition, for every instruction set of this machine."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.kernels.dense import cpu, linear
from support import cpu_kernels
from support.tolerances import assert_near

isas = pytest.mark.parametrize("isa", cpu_kernels.runnable_isas() or ["none"])


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


@isas
@settings(max_examples=25)
@given(
    tokens=st.integers(1, 20),
    rows=st.one_of(st.integers(1, 40), st.integers(250, 600)),
    columns=st.one_of(st.integers(1, 100), st.integers(1000, 2100)),
    with_bias=st.booleans(),
    threads=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_any_shape(isa, tokens, rows, columns, with_bias, threads, seed):
    torch.manual_seed(seed)
    x, weight = torch.randn(tokens, columns).bfloat16(), torch.randn(rows, columns).bfloat16()
    bias = torch.randn(rows).bfloat16() if with_bias else None
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa):
        patched.setattr(cpu, "num_threads", lambda: threads)
        out = cpu.linear(x, weight, bias)
        token = seed % tokens
        alone = cpu.linear(x[token : token + 1], weight, bias)
    expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert_near(out, expected)
    # Rounded once from a float32 sum: half a unit in the last place, and what the sum lost.
    size = (x.double().abs() @ weight.double().abs().T).max()
    error = (out.double() - expected).abs() - expected.abs() * 2**-8
    assert float(error.max()) <= 1e-6 * float(size) + 1e-6
    assert torch.equal(alone[0], out[token]), "the other tokens play a part"


@isas
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_not_hidden(isa, bad):
    x, weight = torch.ones(3, 70).bfloat16(), torch.ones(5, 70).bfloat16()
    x[1, 69] = bad
    with cpu_kernels.needed().using(isa):
        out = cpu.linear(x, weight, None)
    assert not out[1].isfinite().any()
    assert (out[[0, 2]] == 70).all()


@pytest.mark.parametrize(
    ("taken", "change"),
    [
        (True, {}),
        (False, {"tokens": 9}),
        (False, {"tokens": 0}),
        (False, {"dtype": torch.float32}),
        (False, {"grad": True}),
        (False, {"transposed": True}),
        (False, {"shape": (2, 3)}),
    ],
)
def test_what_the_kernel_takes(taken, change, monkeypatch):
    calls: list[int] = []
    run = cpu.linear
    monkeypatch.setattr(cpu, "linear", lambda *arguments: calls.append(1) or run(*arguments))
    dtype = change.get("dtype", torch.bfloat16)
    shape = change.get("shape", (change.get("tokens", 3),))
    x, weight = torch.randn(*shape, 48).to(dtype), torch.randn(40, 48).to(dtype)
    if change.get("transposed"):
        weight = torch.randn(48, 40).to(dtype).t()
    with torch.set_grad_enabled(change.get("grad", False)):
        out = linear(x, weight, None)
    assert out.shape == (*shape, 40)
    assert bool(calls) is taken
    if out.numel():
        assert_near(out, F.linear(x.double(), weight.double()))

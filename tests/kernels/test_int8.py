"""Matrices of 8 bits: how they are rounded, and products with them by every instruction set."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.kernels.dense import cpu, linear_int8, reference
from ossia.kernels.int8 import GROUP, Int8Matrix, dequantize, quantize, quantize_by_torch
from support import cpu_kernels
from support.tolerances import INT8_ACTIVATIONS, assert_near

isas = pytest.mark.parametrize("isa", cpu_kernels.runnable_isas() or ["none"])
shapes = st.tuples(st.integers(1, 6), st.integers(1, 9))  # in tiles and groups


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


def _weight(shape: tuple[int, int], size: float = 1.0) -> torch.Tensor:
    return (torch.randn(shape[0] * 16, shape[1] * GROUP) * size).bfloat16()


@settings(max_examples=25)
@given(
    shape=shapes, size=st.sampled_from([1e-38, 1e-6, 1.0, 1e6, 1e37]), seed=st.integers(0, 2**31)
)
def test_each_weight_is_off_by_half_a_scale_at_most(shape, size, seed):
    torch.manual_seed(seed)
    weight = _weight(shape, size)
    weight[seed % len(weight), :GROUP] = 0
    matrix, twin = quantize(weight), quantize_by_torch(weight)
    assert torch.equal(matrix.codes, twin.codes)
    assert torch.equal(matrix.scales, twin.scales)
    assert (matrix.rows, matrix.columns) == weight.shape
    step = matrix.scales.double().transpose(1, 2).reshape(len(weight), -1)  # (rows, groups)
    error = (dequantize(matrix).double() - weight.double()).abs()
    allowed = step.repeat_interleave(GROUP, dim=1) * (0.5 + 1e-6)
    assert (error <= allowed + 1e-45).all()
    largest = weight.double().abs().unflatten(1, (-1, GROUP)).amax(-1)
    assert (step <= largest / 127 * 1.01 + 1e-40).all(), "scales are larger than they have to be"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_spoils_its_group_only(bad):
    weight = torch.ones(32, 2 * GROUP).bfloat16()
    weight[17, 40] = bad
    for matrix in (quantize(weight), quantize_by_torch(weight)):
        wide = dequantize(matrix)
        assert wide[17, GROUP:].isnan().all()
        wide[17, GROUP:] = 1
        assert_near(wide.bfloat16(), torch.ones(32, 2 * GROUP))


@isas
@settings(max_examples=25)
@given(
    tokens=st.integers(1, 20), shape=shapes, with_bias=st.booleans(), rounded=st.booleans(),
    threads=st.integers(1, 4), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_any_shape(isa, tokens, shape, with_bias, rounded, threads, seed):
    torch.manual_seed(seed)
    matrix = quantize(_weight(shape))
    x = torch.randn(tokens, matrix.columns).bfloat16()
    bias = torch.randn(matrix.rows).bfloat16() if with_bias else None
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa):
        patched.setattr(cpu, "num_threads", lambda: threads)
        out = cpu.linear_int8(x, matrix, bias, int8_activations=rounded)
        token = seed % tokens
        alone = cpu.linear_int8(x[token : token + 1], matrix, bias, int8_activations=rounded)
    wide = None if bias is None else bias.double()
    entering = _rounded(x) if rounded else x.double()
    expected = reference.linear_int8(entering, matrix, wide)
    if rounded:
        error = (out.double() - expected).abs().max() / expected.abs().max()
        assert error <= INT8_ACTIVATIONS[torch.bfloat16]
    else:  # half a unit in the last place of the result, and what the second rounding lost
        size = (x.double().abs() @ dequantize(matrix).double().abs().T).max()
        error = (out.double() - expected).abs() - expected.abs() * 2**-8
        assert float(error.max()) <= 4e-5 * float(size) + 1e-6
    assert torch.equal(alone[0], out[token]), "the other tokens play a part"


def _rounded(x: torch.Tensor) -> torch.Tensor:
    groups = x.double().unflatten(1, (-1, GROUP))
    scales = groups.abs().amax(-1, keepdim=True) / 127
    return (torch.where(scales > 0, (groups / scales).round(), 0.0) * scales).flatten(1)


@isas
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_activations_that_are_not_finite_are_not_hidden(isa, rounded, bad):
    matrix, x = quantize(_weight((2, 3))), torch.ones(3, 3 * GROUP).bfloat16()
    x[1, 50] = bad
    with cpu_kernels.needed().using(isa):
        out = cpu.linear_int8(x, matrix, None, int8_activations=rounded)
    assert not out[1].isfinite().any()
    assert out[[0, 2]].isfinite().all()


def test_elsewhere_torch_multiplies():
    """Other dtypes, and gradients of what enters."""
    matrix = quantize(_weight((2, 2)))
    wide = dequantize(matrix)
    x = torch.randn(3, 2 * GROUP, requires_grad=True)
    out = linear_int8(x, matrix, None, int8_activations=True)
    assert_near(out.detach(), x.detach().double() @ wide.double().T)
    out.sum().backward()
    assert x.grad is not None
    assert_near(x.grad, wide.double().sum(0).expand(3, -1))


def test_the_kernel_is_what_runs(monkeypatch):
    seen: list[bool] = []
    run = cpu.linear_int8

    def noted(x: torch.Tensor, weight: Int8Matrix, bias: torch.Tensor | None, **options: bool):
        seen.append(options["int8_activations"])
        return run(x, weight, bias, **options)

    monkeypatch.setattr(cpu, "linear_int8", noted)
    matrix, x = quantize(_weight((1, 1))), torch.ones(700, GROUP).bfloat16()
    with torch.no_grad():
        linear_int8(x, matrix, None, int8_activations=True)
        linear_int8(x[:1], matrix, None, int8_activations=False)
    assert seen == [True, False]

"""Copies in 8-bit floats for long prompts: what they change, when they are used, and when they are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ossia.bench.subject import load_subject
from ossia.engine import precision, runner
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.errors import ConfigError
from ossia.kernels.fp8 import dequantize, scaled
from ossia.kernels.fp8.scaled import ScaledFp8, widened
from ossia.kernels.mxfp4 import unpack
from ossia.model import fp8_prefill
from ossia.model.batch import ForwardBatch
from ossia.model.fp8_prefill import add_copies, bytes_of_copies, has_copies, why_not
from ossia.model.fp8_weights import ATTENTION, round_weights
from ossia.model.heads import CausalLM
from support.engines import greedy, run_to_end, tokens_of
from support.models import small_model

LONG, SHORT = tuple(range(2, 62)), tuple(range(2, 20))


@pytest.fixture
def anywhere(monkeypatch):
    """As if the device had such products, for 40 tokens and more."""
    monkeypatch.setattr(scaled, "MANY_TOKENS", 40)
    monkeypatch.setattr(precision, "MANY_TOKENS", 40)
    monkeypatch.setattr(fp8_prefill, "is_hopper", lambda _: True)
    monkeypatch.setattr(runner, "why_not_cpu_decoder", lambda *_: "the modules are to be seen")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 10**9))


@pytest.fixture
def products(monkeypatch):
    """Rows of the matrices that such products were taken with."""
    seen: list[int] = []
    plain = scaled.scaled_product

    def product(x: ScaledFp8, weight: ScaledFp8) -> torch.Tensor:
        seen.append(len(weight.codes))
        return plain(x, weight)

    monkeypatch.setattr(scaled, "scaled_product", product)
    return seen


def _model(**shape: object) -> CausalLM:
    sizes = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    model = small_model(3, expert_format="mxfp4", **{**sizes, **shape})
    return model.to(torch.bfloat16).eval().requires_grad_(requires_grad=False)


def _logits(model: CausalLM, prompt: tuple[int, ...], *, fp8: bool = True) -> torch.Tensor:
    batch = ForwardBatch.from_sequences([list(prompt)])
    with torch.inference_mode():
        return model(replace(batch, fp8_prefill=fp8)).float()


def _core(model: CausalLM, **config: object) -> EngineCore:
    return EngineCore(model, EngineConfig(num_pages=200, **config))  # type: ignore[arg-type]


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("interleaved", [False, True])
def test_long_passes_that_ask_for_it_change_a_little_and_others_not_at_all(products, interleaved):
    model = _model(num_experts=4, experts_per_token=4)  # no choice that could turn
    if interleaved:
        for layer in model.model.layers:
            layer.mlp.experts.interleave()
    plain = [_logits(model, prompt) for prompt in (LONG, SHORT)]
    add_copies(model)
    assert has_copies(model)
    assert not products
    found = _logits(model, LONG)
    # Queries, keys and values; what attention gives; each expert's two matrices.
    assert products == 3 * [128, 64, *(4 * [192]), *(4 * [64])]
    errors = (found - plain[0]).norm(dim=-1) / plain[0].norm(dim=-1)
    assert 1e-3 < errors.mean() < 0.2  # of 64 columns each; a wide model is nearer
    assert torch.equal(_logits(model, SHORT), plain[1])
    assert torch.equal(_logits(model, LONG, fp8=False), plain[0])


@pytest.mark.usefixtures("anywhere")
def test_the_copy_of_the_experts_is_exact():
    model = _model()
    add_copies(model)
    for layer in model.model.layers:
        experts, copy = layer.mlp.experts, layer.mlp.experts.rounded
        for name, matrix in (("gate_up_proj", copy.gate_up), ("down_proj", copy.down)):
            packed = unpack(getattr(experts, f"{name}_blocks"), getattr(experts, f"{name}_scales"))
            assert torch.equal(widened(matrix), packed.float())


@pytest.mark.usefixtures("anywhere")
def test_gradients_know_nothing_of_them(products):
    model = _model()
    batch = replace(ForwardBatch.from_sequences([list(LONG)]), fp8_prefill=True)
    add_copies(model)
    model(batch)
    assert not products


@pytest.mark.usefixtures("anywhere")
def test_attention_is_copied_as_it_is_now():
    model = _model()
    add_copies(model)
    before = model.model.layers[0].self_attn.rounded
    round_weights(model, (ATTENTION,))
    assert not has_copies(model)
    add_copies(model)
    after = model.model.layers[0].self_attn.rounded
    assert has_copies(model)
    assert after is not before
    expected = dequantize(model.model.layers[0].self_attn.o_proj.fp8)
    assert ((widened(after.out) - expected).abs() <= expected.abs() / 16 + 1e-4).all()


@pytest.mark.usefixtures("anywhere")
def test_weights_that_are_loaded_drop_them_and_checkpoints_never_have_them():
    model, other = _model(), _model()
    names = set(model.state_dict())
    add_copies(model)
    assert set(model.state_dict()) == names
    other.model.norm.weight.data.mul_(2)
    model.load_state_dict(other.state_dict())
    assert not has_copies(model)
    assert bytes_of_copies(model) == 0
    assert torch.equal(_logits(model, LONG), _logits(other, LONG))
    add_copies(model)
    attention = model.model.layers[1].self_attn
    attention.load_state_dict(attention.state_dict())
    assert not has_copies(model)
    add_copies(model)
    assert has_copies(model)


@pytest.mark.usefixtures("anywhere")
def test_only_the_engine_that_asks_for_them_uses_them(products):
    model = _model()
    plain = _core(model, max_context=200)
    rounded = _core(model, fp8_prefill=True, max_context=200)
    assert has_copies(model)
    for core, used in ((plain, False), (rounded, True), (plain, False)):
        products.clear()
        core.submit(greedy("a", LONG, 5))
        assert len(tokens_of(run_to_end(core), "a")) == 5
        assert bool(products) is used


@pytest.mark.usefixtures("anywhere")
def test_a_benchmark_counts_their_bytes():
    subject = load_subject("random:tiny", device="cpu")
    before = subject.nbytes
    add_copies(subject.network)
    assert subject.nbytes == before + bytes_of_copies(subject.network) > before


@pytest.mark.usefixtures("anywhere")
def test_what_cannot_be_is_refused_by_name(monkeypatch):
    with pytest.raises(ConfigError, match="fp8_prefill and deterministic are both set"):
        EngineConfig(fp8_prefill=True, deterministic=True)
    with pytest.raises(
        ConfigError, match="for passes of 40 tokens and more, but max_batch_tokens is 39"
    ):
        _core(_model(), fp8_prefill=True, max_batch_tokens=39, max_sequences=8)
    assert why_not(_model().float()) == "needs a model in bfloat16"
    assert (
        why_not(small_model(3, num_hidden_layers=1).to(torch.bfloat16)) == "needs experts in MXFP4"
    )
    assert why_not(_model(head_dim=8, num_key_value_heads=1)) == "needs sizes in multiples of 16"
    model = _model()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 10**9))
    with pytest.raises(
        ConfigError, match=r"fp8_prefill: .* needs 0.0 GB more of the device's memory; leave"
    ):
        _core(model, fp8_prefill=True)
    assert not has_copies(model)


def test_a_cpu_refuses_them():
    with pytest.raises(
        ConfigError, match=r"fp8_prefill: .* needs a CUDA device of compute capability 9.0"
    ):
        _core(_model(), fp8_prefill=True)

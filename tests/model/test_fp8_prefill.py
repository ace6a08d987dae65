"""Copies in 8-bit floats for long prompts: what they change, when they are used, and when they are gone."""

from __future__ import annotations

import pytest
import torch

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.errors import ConfigError
from ossia.kernels.fp8 import scaled
from ossia.model import fp8_prefill
from ossia.model.batch import ForwardBatch
from ossia.model.fp8_prefill import add_copies, drop_copies, has_copies, why_not
from ossia.model.fp8_weights import ATTENTION, round_weights
from ossia.model.heads import CausalLM
from support.engines import greedy, run_to_end, tokens_of
from support.models import small_model

LONG, SHORT = tuple(range(2, 62)), tuple(range(2, 20))


@pytest.fixture
def anywhere(monkeypatch):
    """As if the device had such products, for 40 tokens and more."""
    monkeypatch.setattr(scaled, "MANY_TOKENS", 40)
    monkeypatch.setattr(fp8_prefill.fp8, "has_fp8", lambda _: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 10**9))


def _model(**shape: object) -> CausalLM:
    sizes = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    model = small_model(3, expert_format="mxfp4", **{**sizes, **shape})
    return model.to(torch.bfloat16).eval().requires_grad_(requires_grad=False)


def _logits(model: CausalLM, prompt: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        return model(ForwardBatch.from_sequences([list(prompt)])).float()


def _core(model: CausalLM, **config: object) -> EngineCore:
    return EngineCore(model, EngineConfig(num_pages=200, **config))  # type: ignore[arg-type]


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("interleaved", [False, True])
def test_long_passes_change_a_little_and_short_ones_not_at_all(interleaved):
    model = _model(num_experts=4, experts_per_token=4)  # no choice that could turn
    if interleaved:
        for layer in model.model.layers:
            layer.mlp.experts.interleave()
    plain = [_logits(model, prompt) for prompt in (LONG, SHORT)]
    add_copies(model)
    assert has_copies(model)
    errors = (_logits(model, LONG) - plain[0]).norm(dim=-1) / plain[0].norm(dim=-1)
    assert 1e-3 < errors.mean() < 0.2  # of 64 columns each; a wide model is nearer
    assert torch.equal(_logits(model, SHORT), plain[1])
    drop_copies(model)
    assert torch.equal(_logits(model, LONG), plain[0])


@pytest.mark.usefixtures("anywhere")
def test_gradients_know_nothing_of_them():
    model = _model()
    batch = ForwardBatch.from_sequences([list(LONG)])
    add_copies(model)
    with_gradients = model(batch)
    drop_copies(model)
    assert torch.equal(with_gradients, model(batch))


@pytest.mark.usefixtures("anywhere")
def test_rounded_attention_is_copied_as_it_is_now():
    model = _model(num_experts=4, experts_per_token=4)
    round_weights(model, (ATTENTION,))
    plain = _logits(model, LONG)
    add_copies(model)
    assert 0 < (_logits(model, LONG) - plain).norm() / plain.norm() < 0.2


@pytest.mark.usefixtures("anywhere")
def test_weights_that_are_loaded_drop_them_and_checkpoints_never_have_them():
    model, other = _model(), _model()
    names = set(model.state_dict())
    add_copies(model)
    assert set(model.state_dict()) == names
    other.model.norm.weight.data.mul_(2)
    model.load_state_dict(other.state_dict())
    assert not has_copies(model)
    assert all(layer.self_attn.rounded is None for layer in model.model.layers)
    assert torch.equal(_logits(model, LONG), _logits(other, LONG))


@pytest.mark.usefixtures("anywhere")
def test_an_engine_makes_them_and_one_that_does_not_want_them_drops_them():
    model = _model()
    answers = {}
    for wanted in (False, True, False):
        core = _core(model, fp8_prefill=wanted, max_context=200)
        assert has_copies(model) is wanted
        core.submit(greedy("a", LONG, 5))
        found = tokens_of(run_to_end(core), "a")
        assert len(found) == 5
        assert answers.setdefault(wanted, found) == found


@pytest.mark.usefixtures("anywhere")
def test_what_cannot_be_is_refused_by_name(monkeypatch):
    with pytest.raises(ConfigError, match="fp8_prefill and deterministic are both set"):
        EngineConfig(fp8_prefill=True, deterministic=True)
    assert why_not(_model().float()) == "needs a model in bfloat16"
    assert (
        why_not(small_model(3, num_hidden_layers=1).to(torch.bfloat16)) == "needs experts in MXFP4"
    )
    model = _model()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 10**9))
    with pytest.raises(
        ConfigError, match=r"fp8_prefill: .* needs 0.0 GB more of the device's memory; leave it out"
    ):
        _core(model, fp8_prefill=True)
    assert not has_copies(model)


def test_a_cpu_refuses_them():
    with pytest.raises(
        ConfigError, match=r"fp8_prefill: .* needs a CUDA device of compute capability 9.0"
    ):
        _core(_model(), fp8_prefill=True)

"""An engine on the CPU whose dense matrices were rounded to 8 bits."""

from __future__ import annotations

import copy

import pytest
import torch

from ossia.engine import precision
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import ConfigError
from ossia.machine import Memory
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from ossia.model.quantizing import is_quantized, quantize_weights
from support import cpu_kernels
from support.engines import greedy
from support.models import small_model

PROMPT = tuple(range(2, 40))
BATCH = ForwardBatch.from_sequences([list(PROMPT)])


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


def _model(**shape: object) -> CausalLM:
    sizes = {"vocab_size": 96, "intermediate_size": 96, "num_hidden_layers": 3}
    model = small_model(3, expert_format="mxfp4", **{**sizes, **shape})
    return model.to(torch.bfloat16).eval().requires_grad_(requires_grad=False)


def _core(model: CausalLM, **config: object) -> EngineCore:
    return EngineCore(model, EngineConfig(num_pages=200, **config))  # type: ignore[arg-type]


def _logits(model: CausalLM) -> torch.Tensor:
    with torch.no_grad():
        return model(BATCH).float()


@pytest.mark.parametrize("activations", ["full", "int8"])
def test_the_logits_change_a_little(activations):
    plain, model = _logits(_model()), _model()
    core = _core(model, cpu_weights="int8", cpu_activations=activations)
    assert is_quantized(model)
    errors = (_logits(model) - plain).norm(dim=1) / plain.norm(dim=1)
    assert 0 < errors.median() < 0.05  # a few tokens go to other experts
    output = next(iter(SyncEngine(core).generate([greedy("a", PROMPT, 20)])))
    assert len(output.continuations[0].token_ids) == 20


def test_memory_is_given_back_and_routers_and_embeddings_stay():
    model = _model()
    _core(model, cpu_weights="int8")
    layers = {name: part for name, part in model.named_modules() if isinstance(part, Linear)}
    rounded = {name for name, layer in layers.items() if layer.int8 is not None}
    assert rounded == {name for name in layers if "router" not in name}
    assert all(layers[name].weight.nbytes == 0 for name in rounded)
    assert model.model.embed_tokens.weight.nbytes > 0


def test_the_state_is_a_checkpoint_and_loading_one_takes_the_8_bits_away():
    model = _model()
    quantize_weights(model, int8_activations=False)
    state = model.state_dict()
    plain = _model().state_dict()
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in plain.items()
    }
    name = "model.layers.0.self_attn.k_proj.weight"
    error = (state[name] - plain[name]).float().abs().max()
    assert 0 < error < 0.02 * plain[name].float().abs().max()
    twin, fresh = copy.deepcopy(model), _model()
    assert torch.equal(_logits(twin), _logits(model))
    quantize_weights(fresh, int8_activations=False)
    fresh.load_state_dict(plain)
    assert not is_quantized(fresh)
    assert torch.equal(_logits(fresh), _logits(_model()))


def test_a_second_engine_wants_the_same_weights():
    model = _model()
    _core(model, cpu_weights="int8", cpu_activations="int8")
    _core(model, cpu_weights="int8")
    assert not any(part.int8_activations for part in model.modules() if isinstance(part, Linear))
    with pytest.raises(ConfigError, match="another engine has rounded this model's weights"):
        _core(model)


@pytest.mark.parametrize(("share", "expected"), [(1.1, True), (3.0, False)])
def test_auto_rounds_where_memory_is_short(share, expected, monkeypatch):
    model = _model()
    weights = sum(param.nbytes for param in model.parameters())
    ram = Memory("RAM", "cpu", int(share * weights), int(share * weights))
    monkeypatch.setattr(precision, "machine_memory", lambda: (ram,))
    _core(model, cpu_weights="auto")
    assert is_quantized(model) is expected


def test_auto_says_so_and_keeps_to_it(monkeypatch, caplog):
    """What is rounded takes less, so that a second engine would find room enough."""
    model = _model()
    weights = sum(param.nbytes for param in model.parameters())
    ram = Memory("RAM", "cpu", int(1.4 * weights), int(1.4 * weights))
    monkeypatch.setattr(precision, "machine_memory", lambda: (ram,))
    _core(model, cpu_weights="auto", cpu_activations="int8")
    (record,) = caplog.records
    assert "rounded to int8" in record.message
    assert sum(param.nbytes for param in model.parameters()) * 1.5 < 1.4 * weights
    _core(model, cpu_weights="auto")
    assert not any(part.int8_activations for part in model.modules() if isinstance(part, Linear))
    assert len(caplog.records) == 1


def test_elsewhere_than_on_the_cpu_int8_is_refused():
    """As on a GPU."""
    with torch.device("meta"):
        model = CausalLM(_model().config).to(torch.bfloat16)
    for option in ("cpu_weights", "cpu_activations"):
        with pytest.raises(ConfigError, match=f"{option}='int8'.* on the CPU; leave it out"):
            _core(model, **{option: "int8"})


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(ConfigError, match="cpu_weights is 'int4'; known: bf16, int8, auto"):
        EngineConfig(cpu_weights="int4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a model in bfloat16; leave it out"):
        _core(_model().float(), cpu_weights="int8")
    with pytest.raises(ConfigError, match="needs outputs in multiples of 16"):
        _core(_model(vocab_size=97), cpu_weights="int8")
    _core(_model(vocab_size=97), cpu_weights="auto")

"""An engine on the CPU: packed experts interleaved for the kernels, in either precision."""

from __future__ import annotations

import copy

import pytest
import torch

from ossia.engine import runner
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import ConfigError
from ossia.kernels.moe import choice
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM
from ossia.model.interleaving import interleave_weights, why_not
from support import cpu_kernels
from support.engines import greedy
from support.models import small_config, small_model

PROMPTS = [(5, 9, 33), tuple(range(2, 40)), (7,)]


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


def _model(dtype: torch.dtype = torch.float32, **shape: object) -> CausalLM:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    model = small_model(3, expert_format="mxfp4", **{**sizes, **shape})
    return model.to(dtype).eval().requires_grad_(requires_grad=False)


def _outputs(model: CausalLM, **config: object) -> list[list[int]]:
    engine = SyncEngine(EngineCore(model, EngineConfig(num_pages=200, **config)))  # type: ignore[arg-type]
    requests = [greedy(str(i), prompt, 30) for i, prompt in enumerate(PROMPTS)]
    return [output.continuations[0].token_ids for output in engine.generate(requests)]


def _interleaved(model: CausalLM) -> bool:
    return all(layer.mlp.experts.interleaved for layer in model.model.layers)


def test_the_kernels_give_the_answers_of_torch(monkeypatch):
    by_torch, by_kernels = _model(), _model()
    monkeypatch.setattr(runner, "why_not_interleaved", lambda model: "not now")
    expected = _outputs(by_torch)
    assert not _interleaved(by_torch)
    monkeypatch.undo()
    assert _outputs(by_kernels) == expected
    assert _interleaved(by_kernels)
    assert _outputs(by_kernels) == expected, "a second engine over the same weights"


def test_the_state_is_that_of_the_checkpoint(tmp_path):
    model, plain = _model(), _model()
    interleave_weights(model)
    state = model.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(state[name], tensor), name
    fresh = _model()
    interleave_weights(fresh)
    fresh.load_state_dict(state)
    assert not any(layer.mlp.experts.interleaved for layer in fresh.model.layers)
    twin = copy.deepcopy(model)
    batch = ForwardBatch.from_sequences([list(PROMPTS[1])])
    with torch.no_grad():
        expected = plain(batch)
        for other in (model, twin, fresh):
            torch.testing.assert_close(other(batch), expected, rtol=1e-4, atol=1e-4)


def test_gradients_flow_through_interleaved_experts():
    model, plain = _model(), _model()
    interleave_weights(model)
    grads = []
    for some in (model, plain):
        embeds = torch.randn(3, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        batch = ForwardBatch.from_sequences([[1, 2, 3]])
        batch = ForwardBatch(
            input_ids=batch.input_ids, positions=batch.positions, seq_lens=batch.seq_lens,
            inputs_embeds=embeds,
        )  # fmt: skip
        some(batch).square().sum().backward()
        grads.append(embeds.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int8_activations_change_the_logits_a_little(dtype, monkeypatch):
    seen: list[bool] = []
    run = choice.cpu.run_experts

    def noted(x, ids, weights, experts):
        seen.append(experts.int8_activations)
        return run(x, ids, weights, experts)

    monkeypatch.setattr(choice.cpu, "run_experts", noted)
    monkeypatch.setattr(runner, "why_not_cpu_decoder", lambda *arguments: "not now")
    model = _model(dtype)
    _outputs(model)
    assert not any(seen)
    seen.clear()
    _outputs(model, cpu_activations="int8")
    assert seen
    assert all(seen)
    batch = ForwardBatch.from_sequences([list(PROMPTS[1])])
    rough = ForwardBatch(
        input_ids=batch.input_ids, positions=batch.positions, seq_lens=batch.seq_lens,
        int8_activations=True,
    )  # fmt: skip
    with torch.no_grad():
        exact, rounded = model(batch), model(rough)
    error = (exact - rounded).float().norm() / exact.float().norm()
    assert error > 0
    if dtype is torch.float32:  # a bfloat16 model's own rounding may send a token to other experts
        assert error < 0.1


def test_what_has_no_packed_experts_on_the_cpu_is_refused():
    dense = small_model(3).eval()
    with pytest.raises(ConfigError, match="cpu_activations='int8' is for experts in MXFP4"):
        EngineCore(dense, EngineConfig(num_pages=20, cpu_activations="int8"))
    with pytest.raises(ConfigError, match="cpu_activations is 'int4'; known: full, int8"):
        EngineConfig(cpu_activations="int4")  # type: ignore[arg-type]


def test_models_that_the_kernels_do_not_take():
    assert why_not(_model()) is None
    assert why_not(_model(torch.bfloat16)) is None
    assert why_not(_model(torch.float64)) == "needs a model in bfloat16 or float32"
    assert why_not(small_model(3)) == "needs experts in MXFP4"
    with torch.device("meta"):
        elsewhere = CausalLM(
            small_config(expert_format="mxfp4", hidden_size=64, intermediate_size=96)
        )
    assert why_not(elsewhere) == "needs all weights on the CPU"


def test_without_the_library_int8_is_rounded_all_the_same(monkeypatch):
    model, other = _model(), _model()
    expected = _outputs(model, cpu_activations="int8")
    monkeypatch.setattr(runner, "why_not_interleaved", lambda model: "was not built")
    assert _outputs(other, cpu_activations="int8") == expected
    assert not _interleaved(other)

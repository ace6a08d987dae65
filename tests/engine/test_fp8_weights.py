"""Engines whose dense matrices were rounded to 8-bit floats; on the CPU by torch's operations."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from ossia.config import PRESETS
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import ConfigError
from ossia.kernels.backend import IMPLEMENTATIONS, Choice
from ossia.model import fp8_weights
from ossia.model.batch import ForwardBatch
from ossia.model.fp8_weights import ATTENTION, UNEMBEDDING, round_weights, rounded_parts, why_not
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from support.engines import greedy
from support.models import exact_twin, packed_model, small_model

PROMPT = tuple(range(2, 40))
BATCH = ForwardBatch.from_sequences([list(PROMPT)])
ALL = (UNEMBEDDING, ATTENTION)


def _model(**shape: object) -> CausalLM:
    sizes = {"vocab_size": 97, "intermediate_size": 96, "num_hidden_layers": 3}
    model = small_model(3, expert_format="mxfp4", **{**sizes, **shape})
    return model.to(torch.bfloat16).eval().requires_grad_(requires_grad=False)


def _logits(model: CausalLM) -> torch.Tensor:
    with torch.no_grad():
        return model(BATCH).float()


def _core(model: CausalLM, **config: object) -> EngineCore:
    return EngineCore(model, EngineConfig(num_pages=200, **config))  # type: ignore[arg-type]


@pytest.fixture
def anywhere(monkeypatch):
    """As if the kernels ran on every device."""
    first, *_ = IMPLEMENTATIONS["fp8"]
    choice = Choice(operation="fp8", chosen=first, passed_over=())
    monkeypatch.setattr(fp8_weights, "choose", lambda *_: choice)


@pytest.mark.parametrize("parts", [(UNEMBEDDING,), ALL])
def test_the_logits_change_a_little(parts):
    plain, model = _logits(_model()), _model()
    round_weights(model, parts)
    assert rounded_parts(model) == set(parts)
    errors = (_logits(model) - plain).norm(dim=1) / plain.norm(dim=1)
    assert 0 < errors.median() < 0.1  # a few tokens go to other experts


def test_memory_is_given_back_and_the_rest_stays():
    model = _model()
    weights = {name: part.weight.nbytes for name, part in _linears(model).items()}
    round_weights(model, ALL)
    rounded = {name: part for name, part in _linears(model).items() if part.fp8 is not None}
    assert set(rounded) == {name for name in weights if "router" not in name}
    for name, layer in rounded.items():
        assert layer.weight.nbytes == 0
        assert layer.fp8 is not None
        assert layer.fp8.codes.nbytes * 2 == weights[name]
    assert model.model.embed_tokens.weight.nbytes > 0


def _linears(model: CausalLM) -> dict[str, Linear]:
    return {name: part for name, part in model.named_modules() if isinstance(part, Linear)}


def test_queries_keys_and_values_stay_one_product():
    model = _model()
    for layer in model.model.layers:
        layer.self_attn.join_projections()  # as an engine does that rounds nothing
    attention = model.model.layers[1].self_attn
    x = torch.randn(5, model.config.hidden_size).bfloat16()
    round_weights(model, ALL)
    with torch.no_grad():
        joined = attention._project(x)
        apart = [part(x) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
    assert attention._all_projections[0].rows == sum(part.shape[1] for part in apart)
    for ours, theirs in zip(joined, apart, strict=True):
        assert torch.equal(ours.flatten(1), theirs)


def test_the_state_is_a_checkpoint_and_loading_one_takes_the_8_bits_away():
    model, plain = _model(), _model().state_dict()
    round_weights(model, ALL)
    state = model.state_dict()
    assert {name: (value.shape, value.dtype) for name, value in state.items()} == {
        name: (value.shape, value.dtype) for name, value in plain.items()
    }
    name = "model.layers.0.self_attn.k_proj.weight"
    error = (state[name] - plain[name]).float().abs().max()
    assert 0 < error < 0.07 * plain[name].float().abs().max()
    twin, again = copy.deepcopy(model), _model()
    assert torch.equal(_logits(twin), _logits(model))
    again.load_state_dict(state)
    round_weights(again, ALL)
    assert torch.allclose(_logits(again), _logits(model), rtol=0.05, atol=0.05)
    again.load_state_dict(plain)
    assert not rounded_parts(again)
    assert torch.equal(_logits(again), _logits(_model()))


@pytest.mark.usefixtures("anywhere")
def test_an_engine_rounds_what_it_is_told_to():
    model = _model()
    core = _core(model, fp8_weights="unembedding")
    assert rounded_parts(model) == {UNEMBEDDING}
    output = next(iter(SyncEngine(core).generate([greedy("a", PROMPT, 20)])))
    assert len(output.continuations[0].token_ids) == 20
    _core(model, fp8_weights="unembedding,attention")
    assert rounded_parts(model) == set(ALL)
    with pytest.raises(ConfigError, match="rounded this model's attention to 8-bit floats; load"):
        _core(model, fp8_weights="unembedding")
    with pytest.raises(ConfigError, match="this model's attention and unembedding to 8-bit"):
        _core(model)


def test_a_cpu_is_refused():
    with pytest.raises(
        ConfigError,
        match="fp8_weights='unembedding': this model or machine needs a CUDA device; leave it out",
    ):
        _core(_model(), fp8_weights="unembedding")


def test_unknown_parts_are_refused():
    known = "none, unembedding, unembedding,attention"
    with pytest.raises(ConfigError, match=f"fp8_weights is 'experts'; known: {known}"):
        EngineConfig(fp8_weights="experts")  # type: ignore[arg-type]


@pytest.mark.usefixtures("anywhere")
def test_what_cannot_be_rounded_is_refused():
    assert why_not(_model(), ALL) is None
    assert why_not(_model().float(), ALL) == "needs a model in bfloat16"
    narrow = _model(num_attention_heads=1, num_key_value_heads=1, head_dim=16)
    assert why_not(narrow, ALL) == "needs inputs in multiples of 32"
    assert why_not(narrow, (UNEMBEDDING,)) is None
    other = _model()
    other.lm_head = nn.Linear(64, 97, bias=False, dtype=torch.bfloat16)
    assert why_not(other, ALL) == "needs plain linear layers"
    tied = _model()
    tied.lm_head.weight = tied.model.embed_tokens.weight
    told = "needs an unembedding that is not the embedding, too"
    assert why_not(tied, ALL) == told
    with pytest.raises(ConfigError, match=told):
        _core(tied, fp8_weights="unembedding")
    split = _model()
    split.lm_head.to("meta")
    assert why_not(split, ALL) == "needs all weights on one device"


def _on_a_gpu() -> CausalLM:
    """Every token goes to all experts: roundings turn no choice, after which a token would be much further off."""
    torch.manual_seed(0)
    config = PRESETS["tiny"]()
    return packed_model(replace(config, experts_per_token=config.num_experts), "cuda")


def _distance(model: CausalLM, exact: CausalLM, count: int, **config: object) -> float:
    """Mean distance of reported log-probabilities from those of a float32 model."""
    generator = torch.Generator().manual_seed(1)
    prompts = [
        tuple(torch.randint(0, 1000, (3 + 40 * (i % 9),), generator=generator).tolist())
        for i in range(count)
    ]
    core = EngineCore(model, EngineConfig(num_pages=4000, **config))  # type: ignore[arg-type]
    requests = [greedy(str(i), one, 32, logprobs=1) for i, one in enumerate(prompts)]
    distances: list[float] = []
    for request, output in zip(requests, SyncEngine(core).generate(requests), strict=True):
        (made,) = output.continuations
        batch = ForwardBatch.from_sequences([[*request.prompt_ids, *made.token_ids]], "cuda")
        scores = exact(batch).log_softmax(-1)[len(request.prompt_ids) - 1 : -1]
        assert made.logprobs is not None
        distances += [
            abs(float(row[token]) - one.logprob)
            for row, token, one in zip(scores, made.token_ids, made.logprobs, strict=True)
        ]
    return sum(distances) / len(distances)


@pytest.mark.gpu
@pytest.mark.parametrize("weights", ["unembedding", "unembedding,attention"])
@pytest.mark.parametrize("count", [1, 3, 4, 7, 16, 40, 129])
@torch.inference_mode()
def test_steps_and_prompts_on_a_gpu(weights, count):
    """Graphs and modules are equally near the exact model that has the rounded weights."""
    model = _on_a_gpu()
    slow = {"cuda_graphs": False, "fp8_weights": weights}
    _core(model, **slow)
    exact = exact_twin(model)
    by_modules = _distance(model, exact, count, **slow)
    by_graphs = _distance(model, exact, count, fp8_weights=weights)
    assert by_graphs < 1.3 * by_modules < 0.25
    assert rounded_parts(model) == set(weights.split(","))


@pytest.mark.gpu
def test_greedy_ids_on_a_gpu_are_the_same_again():
    model, ids = _on_a_gpu(), list[list[list[int]]]()
    requests = [greedy(str(i), tuple(range(i, 40 + 7 * i)), 24) for i in range(20)]
    for _ in "ab":
        core = EngineCore(
            model,
            EngineConfig(num_pages=4000, fp8_weights="unembedding,attention", prefix_reuse=False),
        )
        ids.append([one.continuations[0].token_ids for one in SyncEngine(core).generate(requests)])
    assert ids[0] == ids[1]


@pytest.mark.gpu
def test_a_gpu_gets_its_memory_back():
    with torch.inference_mode():
        model = _on_a_gpu()
        before = torch.cuda.memory_allocated()
        head = model.lm_head.weight.nbytes
        assert why_not(model, ALL) is None
        round_weights(model, (UNEMBEDDING,))
        scales = 4 * model.config.vocab_size
        assert torch.cuda.memory_allocated() <= before - head // 2 + scales + 4096

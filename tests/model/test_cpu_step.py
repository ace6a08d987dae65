"""Steps without torch between the kernels: the very ids that the steps with it give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.model import cpu_step
from ossia.model.batch import ForwardBatch
from ossia.model.cpu_step import CpuStep, why_not
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from ossia.types import FinishReason, Request, SamplingParams
from support import cpu_kernels
from support.engines import greedy, run_to_end
from support.models import small_model

VOCAB = 96


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


def _model(seed: int, **shape: object) -> CausalLM:
    sizes = {"hidden_size": 96, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 32}
    model = small_model(seed, expert_format="mxfp4", vocab_size=VOCAB, **{**sizes, **shape})
    return model.to(torch.bfloat16).eval().requires_grad_(requires_grad=False)


def _core(model: CausalLM, *, by_steps: bool, **config: object) -> tuple[EngineCore, list[int]]:
    """An engine that makes such steps or none, and how many rows each of them had."""
    core = EngineCore(model, EngineConfig(**config))  # type: ignore[arg-type]
    runner: Any = core._runner
    step, ran = runner._cpu_step, list[int]()
    assert isinstance(step, CpuStep)
    if by_steps:
        plain = step._run
        step._run = lambda ids, *rest, **how: (ran.append(len(ids)), plain(ids, *rest, **how))[1]  # type: ignore[method-assign]
    else:
        runner._cpu_step = None
    return core, ran


def _served(
    model: CausalLM, requests: list[Request], *, by_steps: bool, **config: object
) -> dict[tuple[str, int], list[tuple[int | None, str | None]]]:
    """What every continuation gets; and whether steps ran is as it should be."""
    core, ran = _core(model, by_steps=by_steps, num_pages=400, **config)
    for request in requests:
        core.submit(request)
    made: dict[tuple[str, int], list[tuple[int | None, str | None]]] = {}
    for output in run_to_end(core):
        made.setdefault((output.request_id, output.index), []).append(
            (output.token_id, output.error)
        )
    core.check()
    assert bool(ran) is by_steps
    assert max(ran, default=0) <= (8 if config["cpu_weights"] == "bf16" else 64)
    return made


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 12), window=st.integers(1, 20), page_size=st.integers(1, 9),
    int8=st.booleans(), int8_pages=st.booleans(), int8_activations=st.booleans(),
    end=st.integers(60, VOCAB), first=st.integers(1, 12), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_the_same_ids(
    count, window, page_size, int8, int8_pages, int8_activations, end, first, seed
):
    generator = torch.Generator().manual_seed(seed)
    model = _model(seed, sliding_window=window)
    requests = [
        greedy(
            str(number),
            tuple(torch.randint(0, 60, (1 + 7 * number % 30,), generator=generator).tolist()),
            1 + 5 * number % 17,
            n=2 if number % 4 == 3 else 1,
        )
        for number in range(count)
    ]
    config: dict[str, object] = {
        "page_size": page_size,
        "valid_token_ids_end": end,
        "cpu_weights": "int8" if int8 else "bf16",
        "cpu_activations": "int8" if int8_activations else "full",
        "kv_dtype": "int8" if int8_pages else "auto",
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cpu_step, "_FIRST_POSITIONS", first)  # so that tables of turns grow
        mine = _served(
            model, requests, by_steps=any(r.sampling.max_tokens > 1 for r in requests), **config
        )
    assert mine == _served(model, requests, by_steps=False, **config)
    assert all(token is not None and token < end for one in mine.values() for token, _ in one)


def test_the_same_draws():
    """Log-probabilities, penalties, masks and temperatures, side by side and beside a greedy one."""
    model, seen = _model(1), list[list[object]]()
    wishes: list[dict[str, Any]] = [
        {"temperature": 1.0, "seed": 3}, {"logprobs": 2}, {"presence_penalty": 0.5}, {"n": 2}, {},
        {"temperature": 0.7, "top_p": 0.8, "seed": 4, "logprobs": 0}, {"logit_bias": {7: 3.0}},
    ]  # fmt: skip
    for by_steps in (True, False):
        core, ran = _core(model, by_steps=by_steps, num_pages=200, valid_token_ids_end=90)
        for number, wish in enumerate(wishes):
            sampling = SamplingParams(**{"temperature": 0.0, "max_tokens": 9 - number, **wish})
            core.submit(Request(request_id=str(number), prompt_ids=(5, 6, 7), sampling=sampling))
        outputs = run_to_end(core)
        assert all(output.error is None for output in outputs)
        assert bool(ran) is by_steps
        seen.append([(one.request_id, one.index, one.token_id, one.logprob) for one in outputs])
    assert seen[0] == seen[1]


def test_logits_that_are_not_finite_end_an_answer():
    model = _model(2)
    core = EngineCore(model, EngineConfig(num_pages=100))
    core.submit(greedy("a", (1, 2, 3), 8))
    assert core.step()[0].error is None  # its prompt
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    (last,) = core.step()
    assert last.finish_reason is FinishReason.ERROR
    assert last.error is not None
    assert "not finite" in last.error


@pytest.mark.parametrize("change", ["weights", "hook"])
def test_an_unembedding_that_was_replaced_counts_at_once(change):
    """As it does in prompts, which go through the modules."""
    model, other = _model(4), _model(5).lm_head.weight.data
    seen = list[int]()
    core, ran = _core(model, by_steps=True, num_pages=100)
    core.submit(greedy("a", (1, 2, 3), 8))
    made = [core.step()[0].token_id for _ in range(3)]
    assert len(ran) == 2
    if change == "weights":
        model.lm_head.weight.data = other.clone()
    else:
        model.lm_head.register_forward_hook(lambda *_: seen.append(1))
    made += [output.token_id for output in run_to_end(core)]
    assert len(ran) == 2
    assert len(seen) == 5 * (change == "hook")
    with torch.no_grad():
        ids = [1, 2, 3, *made]
        logits = model(ForwardBatch.from_sequences([ids])).float()
    assert logits[-2].argmax() == made[-1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: None, None),
        (
            lambda model: model.lm_head.register_forward_hook(lambda *_: None),
            "somebody looks at what its embeddings give",
        ),
        (
            lambda model: setattr(model, "lm_head", Linear(96, VOCAB, bias=True)),
            "needs an unembedding without a bias",
        ),
        (
            lambda model: setattr(model.model, "embed_tokens", torch.nn.EmbeddingBag(VOCAB, 96)),
            "needs plain embeddings",
        ),
    ],
)
def test_models_that_it_cannot_run(change, reason):
    model = _model(3)
    change(model)
    assert why_not(model) == reason

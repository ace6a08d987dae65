"""The decoder as one call of the CPU kernels against the decoder as modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.engine import runner
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.model.batch import ForwardBatch
from ossia.model.cpu_decoder import CpuDecoder, why_not
from ossia.model.cpu_step import CpuStep
from ossia.model.heads import CausalLM
from ossia.model.interleaving import interleave_weights
from ossia.model.quantizing import quantize_weights
from support import cpu_kernels
from support.engines import greedy
from support.models import small_model
from support.paging import HandPagedCache, as_floats

isas = pytest.mark.parametrize("isa", cpu_kernels.runnable_isas() or ["none"])
SIZES = {"hidden_size": 96, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 32}
ALL_EXPERTS = {"num_experts": 4, "experts_per_token": 4}  # no choice that rounding could turn


@pytest.fixture(autouse=True)
def _kernels():
    cpu_kernels.needed()


def _model(seed: int, *, int8: bool = False, **shape: object) -> CausalLM:
    model = small_model(seed, expert_format="mxfp4", vocab_size=96, **{**SIZES, **shape})
    model = model.to(torch.bfloat16).eval().requires_grad_(requires_grad=False)
    interleave_weights(model)
    if int8:
        quantize_weights(model, int8_activations=False)
    return model


@isas
@settings(max_examples=12)
@given(
    kv_heads=st.sampled_from([1, 2]), group=st.sampled_from([1, 2, 8]), window=st.integers(1, 9),
    page_size=st.integers(1, 7), sequences=st.integers(1, 3), chunk=st.integers(1, 20),
    int8=st.booleans(), int8_pages=st.booleans(), bias=st.booleans(), threads=st.integers(1, 3), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_it_gives_what_the_modules_give(
    isa, kv_heads, group, window, page_size, sequences, chunk, int8, int8_pages, bias, threads, seed
):
    torch.manual_seed(seed)
    model = _model(
        seed, int8=int8, num_key_value_heads=kv_heads, num_attention_heads=kv_heads * group,
        sliding_window=window, attention_bias=bias, **ALL_EXPERTS,
    )  # fmt: skip
    decoder = CpuDecoder(model)
    caches = [
        HandPagedCache(
            model.config,
            sequences,
            chunk + 4,
            page_size,
            torch.int8 if int8_pages else torch.bfloat16,
        )
        for _ in range(2)
    ]
    caches[1].tables = caches[0].tables
    pieces = [torch.randint(96, (sequences, length)).tolist() for length in (chunk, 1, 1, 2)]
    with pytest.MonkeyPatch.context() as patched, cpu_kernels.needed().using(isa), torch.no_grad():
        patched.setattr("ossia.model.cpu_decoder.num_threads", lambda: threads)
        for ids in pieces:
            mine, theirs = (cache.batch(ids) for cache in caches)
            assert decoder.takes(mine)
            out, expected = decoder.run(mine), model.model.run(theirs)
            assert out.shape == expected.shape
            # What is rounded to the other side of bfloat16 spreads through the layers.
            assert float(_errors(out, expected).max()) < 0.06
    for part in ("k", "v"):  # what was written, and nothing else
        for mine, theirs in zip(*(getattr(cache, part) for cache in caches), strict=True):
            read = (as_floats(pages, torch.float32).isnan() for pages in (mine, theirs))
            assert torch.equal(*read)


def _errors(out: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """(tokens,): relative."""
    return (out - expected).float().norm(dim=1) / expected.float().norm(dim=1)


@isas
def test_it_chooses_the_experts_that_the_router_prefers(isa):
    """Among many; where two are equally good either will do, and the rest follows from it."""
    errors = []
    for seed in range(10):
        torch.manual_seed(seed)
        model = _model(seed, num_experts=8, experts_per_token=2)
        caches = [HandPagedCache(model.config, 2, 20, 4, torch.bfloat16) for _ in range(2)]
        caches[1].tables = caches[0].tables
        ids = torch.randint(96, (2, 20)).tolist()
        mine, theirs = (cache.batch(ids) for cache in caches)
        with cpu_kernels.needed().using(isa), torch.no_grad():
            errors.append(_errors(CpuDecoder(model).run(mine), model.model.run(theirs)))
    assert (torch.cat(errors) < 0.06).float().mean() > 0.9


def test_what_it_does_not_take():
    model = _model(1)
    decoder = CpuDecoder(model)
    cache = HandPagedCache(model.config, 1, 70, 4, torch.bfloat16)
    long = cache.batch([list(range(65))])
    assert not decoder.takes(long), "torch is faster"
    assert CpuDecoder(_model(1, int8=True)).takes(long), "there torch has nothing"
    assert not decoder.takes(ForwardBatch.from_sequences([[1, 2]])), "no pages"


def test_models_that_it_does_not_take():
    assert why_not(_model(1), torch.bfloat16) is None
    assert why_not(_model(1, int8=True), torch.bfloat16) is None
    assert why_not(_model(1), torch.int8) is None
    assert why_not(_model(1), torch.float32) == "needs a KV cache in bfloat16 or int8"
    assert why_not(_model(1).float(), torch.bfloat16) == "needs bfloat16 weights"
    dense = small_model(1).to(torch.bfloat16)
    assert why_not(dense, torch.bfloat16) == "needs experts in MXFP4"
    adapted = _model(1)
    adapted.model.layers[0].self_attn.q_proj = torch.nn.Linear(96, 128).to(torch.bfloat16)
    assert why_not(adapted, torch.bfloat16) == "needs plain linear layers"


@pytest.mark.parametrize("int8", [False, True])
def test_engines_use_it_for_steps_and_for_prompts_where_it_is_faster(int8, monkeypatch):
    lengths, steps = list[int](), list[int]()
    run, run_step = CpuDecoder.run, CpuStep._run

    def noted(self: CpuDecoder, batch: ForwardBatch) -> torch.Tensor:
        lengths.append(len(batch.input_ids))
        return run(self, batch)

    def noted_step(self: CpuStep, ids: list[int], *rest: Any, draws: bool) -> int:
        steps.append(len(ids))
        return run_step(self, ids, *rest, draws=draws)

    monkeypatch.setattr(CpuDecoder, "run", noted)
    monkeypatch.setattr(CpuStep, "_run", noted_step)
    prompts = [tuple(range(80)), (4, 5, 6)]

    def outputs() -> list[list[int]]:
        config = EngineConfig(
            num_pages=200, kv_dtype="bfloat16", cpu_weights="int8" if int8 else "bf16"
        )
        engine = SyncEngine(EngineCore(_model(7, int8=False, **ALL_EXPERTS), config))
        requests = [greedy(str(i), prompt, 12) for i, prompt in enumerate(prompts)]
        return [output.continuations[0].token_ids for output in engine.generate(requests)]

    with_it = outputs()
    assert lengths == [83] * int8
    assert steps == [2] * 11
    lengths.clear(), steps.clear()
    monkeypatch.setattr(runner, "why_not_cpu_decoder", lambda *arguments: "not now")
    without_it = outputs()
    assert not lengths + steps
    for mine, theirs in zip(with_it, without_it, strict=True):
        assert mine[:3] == theirs[:3], "later ones may differ by roundings"

"""Greedy ids do not depend on how they were computed: all equal recomputation without a cache."""

from __future__ import annotations

import math

import pytest
import torch
from benchmarks.cpu_precision import skill_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.model.heads import CausalLM
from ossia.tokenizer import special
from support.engines import double_model, greedy, naive_greedy, run_to_end, tokens_of
from support.models import small_model

_IDS = st.integers(0, 96)
_STEM = (5, 80, 13, 42, 42, 7, 91, 0, 33, 64, 21, 2, 76, 55, 18, 9, 60, 31, 47, 88)


@st.composite
def prompts(draw: st.DrawFn) -> tuple[int, ...]:
    """Prompts that often start alike."""
    tail = draw(st.lists(_IDS, min_size=1, max_size=9))
    return (*_STEM[: draw(st.integers(0, len(_STEM)))], *tail)


@given(
    window=st.sampled_from([1, 3, 8, 64]),
    page_size=st.sampled_from([1, 3, 4, 16]),
    chunk=st.integers(1, 40),
    max_sequences=st.integers(1, 4),
    extra=st.integers(0, 12),
    spare=st.integers(0, 30),
    prefix_reuse=st.booleans(),
    asked=st.lists(st.tuples(prompts(), st.integers(1, 7)), min_size=1, max_size=5),
    arrivals=st.lists(st.integers(0, 6), min_size=5, max_size=5),
)
@settings(deadline=None, max_examples=60)
@torch.no_grad()
def test_any_schedule_gives_the_ids_of_plain_recomputation(
    window, page_size, chunk, max_sequences, extra, spare, prefix_reuse, asked, arrivals
):
    model = double_model(window=window)
    # Just enough pages for the longest request alone, so that several run each other out of pages.
    longest = max(len(prompt) + count for prompt, count in asked)
    core = EngineCore(
        model,
        EngineConfig(
            page_size=page_size,
            num_pages=2 * (-(-longest // page_size) + 1) + spare,
            max_sequences=max_sequences,
            max_batch_tokens=max_sequences + extra,
            prefill_chunk=chunk,
            prefix_reuse=prefix_reuse,
        ),
    )
    outputs = []
    for number, (prompt, count) in enumerate(asked):
        core.submit(greedy(str(number), prompt, count))
        for _ in range(arrivals[number]):
            outputs += core.step()
    outputs += run_to_end(core)
    for number, (prompt, count) in enumerate(asked):
        assert tokens_of(outputs, str(number)) == naive_greedy(model, prompt, count)


def core_of(window: int = 8, layers: int = 2, **config: object) -> EngineCore:
    return EngineCore(double_model(window=window, layers=layers), EngineConfig(**config))  # type: ignore[arg-type]


def test_preemption_happens_and_changes_nothing():
    core = core_of(num_pages=26, page_size=2, prefill_chunk=4, prefix_reuse=False)
    asked = {str(idx): _STEM[idx : idx + 6] for idx in range(4)}
    for name, prompt in asked.items():
        core.submit(greedy(name, prompt, 14))
    outputs = run_to_end(core)
    assert core.stats().preemptions > 0
    for name, prompt in asked.items():
        assert tokens_of(outputs, name) == naive_greedy(double_model(), prompt, 14)


def test_prefix_hit_happens_and_changes_nothing():
    core = core_of(num_pages=80, page_size=4)
    core.submit(greedy("first", _STEM, 6))
    first = run_to_end(core)
    core.submit(greedy("second", (*_STEM, 3), 6))
    second = run_to_end(core)
    assert first[0].cached_tokens == 0
    assert {output.cached_tokens for output in second} == {20}
    assert tokens_of(second, "second") == naive_greedy(double_model(), (*_STEM, 3), 6)
    stats = core.stats()
    assert (stats.prompt_tokens, stats.cached_tokens, stats.output_tokens) == (41, 20, 12)


def test_output_of_one_request_is_a_prefix_for_the_next():
    """A second turn starts with the first one's prompt and answer."""
    core = core_of(num_pages=80, page_size=4)
    core.submit(greedy("first", _STEM, 9))
    answer = tokens_of(run_to_end(core), "first")
    prompt = (*_STEM, *answer, 1, 2)
    core.submit(greedy("second", prompt, 4))
    outputs = run_to_end(core)
    assert outputs[0].cached_tokens == 28
    assert tokens_of(outputs, "second") == naive_greedy(double_model(), prompt, 4)


def test_continuations_share_the_prompt_and_then_part():
    core = core_of(num_pages=60, page_size=4, prefix_reuse=False)
    core.submit(greedy("one", _STEM[:10], 8, n=3))
    outputs = core.step()
    assert {output.index for output in outputs} == {0, 1, 2}
    outputs += core.step()
    # The partial page exists three times now, whole ones once; one left the window of 8.
    assert core.stats().pages_held == (2 + 3) + (1 + 3)
    outputs += run_to_end(core)
    for index in range(3):
        assert tokens_of(outputs, "one", index) == naive_greedy(double_model(), _STEM[:10], 8)


def test_odd_mixtures_of_layers_share_the_pool():
    for layers in (1, 3):
        core = core_of(layers=layers, num_pages=40, page_size=4, prefill_chunk=5)
        core.submit(greedy("one", _STEM, 5))
        expected = naive_greedy(double_model(layers=layers), _STEM, 5)
        assert tokens_of(run_to_end(core), "one") == expected


def test_unwritten_pages_are_never_read():
    core = core_of(num_pages=60, page_size=4, prefill_chunk=3)
    pool = core._runner._pool  # type: ignore[attr-defined]
    for tensor in (*pool.k_pages, *pool.v_pages):
        tensor.fill_(torch.nan)
    core.submit(greedy("one", _STEM, 8, n=2))
    outputs = run_to_end(core)
    assert tokens_of(outputs, "one", 1) == naive_greedy(double_model(), _STEM, 8)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_keys_and_values_can_be_stored_narrower_than_the_model(dtype):
    core = core_of(num_pages=60, page_size=4, kv_dtype=dtype)
    pool = core._runner._pool  # type: ignore[attr-defined]
    assert pool.k_pages[0].dtype is getattr(torch, dtype)
    core.submit(greedy("one", _STEM, 4))
    assert len(tokens_of(run_to_end(core), "one")) == 4


def test_a_packed_bfloat16_model_runs_and_scores_in_float32():
    model = small_model(expert_format="mxfp4").to(torch.bfloat16).eval()
    core = EngineCore(model, EngineConfig(num_pages=60, page_size=4))
    core.submit(greedy("it", _STEM, 5, logprobs=97))
    outputs = run_to_end(core)
    for output in outputs:
        assert output.logprob is not None
        total = sum(math.exp(logprob) for _, logprob in output.logprob.top)
        assert abs(total - 1) < 1e-5, "a softmax in bfloat16 would be off by more"
        best = output.logprob.top[0][1]
        assert output.token_id == min(idx for idx, value in output.logprob.top if value == best)


def _answers(device: str, max_sequences: int) -> list[list[int]]:
    """Of the demo to questions of all its skills, greedy and up to their ends."""
    model = load_module(CausalLM, find_model("demo"), device=device)
    core = EngineCore(model, EngineConfig(num_pages=1000, max_sequences=max_sequences))
    assert core._runner.looks_ahead is (device == "cuda"), "on a GPU everything runs as graphs"
    prompts = skill_prompts(16, seed=1)
    stops = tuple(sorted(special.ACTION_STOP_TOKENS))
    for number, prompt in enumerate(prompts):
        core.submit(greedy(str(number), prompt, 32, stop_token_ids=stops))
    outputs = run_to_end(core)
    return [tokens_of(outputs, str(number)) for number in range(len(prompts))]


@pytest.mark.gpu
@pytest.mark.parametrize("max_sequences", [1, 16])
def test_the_demo_answers_on_a_gpu_as_on_the_cpu(max_sequences):
    """Its likeliest tokens lead by 7 and more, far beyond what rounding does to logits."""
    assert _answers("cuda", max_sequences) == _answers("cpu", 1)

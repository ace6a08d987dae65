"""An engine that keeps keys and values of full layers in 8 bits: on the CPU, by the reference.

There it is refused to users, who have "int8"; the pages, their sizes and all that moves them about are the
same on every device.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ossia.engine import precision
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.kernels.fp8 import FP8
from ossia.model.heads import CausalLM
from ossia.types import TokenOutput
from support.engines import greedy, run_to_end, tokens_of
from support.models import small_model

_PROMPT = (5, 80, 13, 42, 42, 7, 91, 0, 33, 64, 21, 2, 76, 55, 18, 9, 60, 31, 47, 88)
_LARGE = {"num_pages": 200, "page_size": 64}
"""All of a sequence in a page: nothing is cut, copied or found again."""


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_why_not_fp8_rows", lambda *_: None)


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return small_model(num_hidden_layers=4).bfloat16().eval()


def _core(model: CausalLM, **config: object) -> EngineCore:
    core = EngineCore(model, EngineConfig(kv_dtype="fp8", **config))  # type: ignore[arg-type]
    pool = core._runner._pool  # type: ignore[attr-defined]
    for pages in (*pool.k_pages, *pool.v_pages):
        pages.view(torch.uint8).fill_(0xFF)  # NaN in either dtype
    return core


def _logprobs(outputs: list[TokenOutput], name: str, index: int = 0) -> list[float]:
    return [
        one.logprob.logprob
        for one in outputs
        if (one.request_id, one.index) == (name, index) and one.logprob is not None
    ]


def _alike(ours: list[float], theirs: list[float]) -> bool:
    """As near as sums of bfloat16 in another order are, which choose another number of 8 bits at times."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 0.1


def test_full_layers_are_narrow_and_have_twice_the_tokens_in_a_page(model):
    made: Any = _core(model, num_pages=20, page_size=16)._runner
    kinds = dict(zip(model.config.layer_types, made._pool.k_pages, strict=True))
    assert kinds["full_attention"].dtype is FP8
    assert kinds["full_attention"].shape[1] == 16
    assert kinds["sliding_attention"].dtype is torch.bfloat16
    assert kinds["sliding_attention"].shape[1] == 8
    assert made._cpu_decoder is None


@pytest.mark.parametrize("config", [
    {"num_pages": 90, "page_size": 2}, {"num_pages": 60, "page_size": 4, "prefill_chunk": 3},
    {"num_pages": 60, "page_size": 16}, {"num_pages": 60, "page_size": 6, "max_batch_tokens": 5, "max_sequences": 4},
])  # fmt: skip
def test_how_pages_are_cut_makes_no_difference(model, config):
    found = []
    for settings in (config, _LARGE):
        core = _core(model, **settings)
        core.submit(greedy("scored", _PROMPT, 1, prompt_logprobs=0))
        outputs = run_to_end(core)
        found.append([one.logprob for one in outputs[0].prompt_logprobs[1:]])
    assert _alike(*found)


def test_what_is_found_again_and_what_parts_is_read_rightly(model):
    expected = []
    for prompt in (_PROMPT, (*_PROMPT, 3, 9)):
        alone = _core(model, **_LARGE)
        alone.submit(greedy("it", prompt, 8, logprobs=0))
        expected.append(run_to_end(alone))
    core = _core(model, num_pages=120, page_size=8)
    core.submit(greedy("first", _PROMPT, 8, n=2, logprobs=0))
    outputs = run_to_end(core)
    core.submit(greedy("second", (*_PROMPT, 3, 9), 8, logprobs=0))
    outputs += run_to_end(core)
    assert core.stats().cached_tokens == 16
    for name, index, wanted in (("first", 0, 0), ("first", 1, 0), ("second", 0, 1)):
        assert tokens_of(outputs, name, index) == tokens_of(expected[wanted], "it")
        assert _alike(_logprobs(outputs, name, index), _logprobs(expected[wanted], "it"))


def test_who_lost_the_pages_computes_the_same_again(model):
    core = _core(model, num_pages=40, page_size=4, prefix_reuse=False, max_sequences=4)
    prompts = {str(idx): _PROMPT[idx : idx + 8] for idx in range(4)}
    for name, prompt in prompts.items():
        core.submit(greedy(name, prompt, 20, logprobs=0))
    outputs = run_to_end(core)
    assert core.stats().preemptions > 0
    for name, prompt in prompts.items():
        alone = _core(model, **_LARGE)
        alone.submit(greedy("it", prompt, 20, logprobs=0))
        expected = run_to_end(alone)
        assert tokens_of(outputs, name) == tokens_of(expected, "it")
        assert _alike(_logprobs(outputs, name), _logprobs(expected, "it"))


def test_logits_change_a_little_beside_the_models_own_dtype(model):
    found = []
    for kv_dtype in ("fp8", "auto"):
        core = EngineCore(model, EngineConfig(kv_dtype=kv_dtype, num_pages=60))
        core.submit(greedy("it", _PROMPT, 1, prompt_logprobs=0))
        found.append([one.logprob for one in run_to_end(core)[0].prompt_logprobs[1:]])
    changes = [abs(a - b) for a, b in zip(*found, strict=True)]
    assert 0 < sum(changes) / len(changes) < 0.1

"""Logits and gradients against transformers' GptOssForCausalLM, in float32."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossia.config import ModelConfig
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM
from ossia.model.recording import Recording
from support.models import (
    assume_clear_routing,
    lively_,
    model_configs,
    small_model,
    transformers_twin,
)
from support.paging import HandPagedCache

TOLERANCE = 2e-4  # max abs difference of float32 logits, from the design's definition of correct

many = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _model(config: ModelConfig, seed: int) -> CausalLM:
    model = CausalLM(config)
    lively_(model, seed)
    return model.eval()


def _random_ids(config: ModelConfig, length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.vocab_size, (length,), generator=generator).tolist()


@many
@given(
    config=model_configs(),
    lengths=st.lists(st.integers(1, 160), min_size=1, max_size=3),
    pieces=st.integers(1, 4),
    page_size=st.integers(1, 16),
    seed=st.integers(0, 2**31),
)
def test_prefill_and_cached_decode_match(config, lengths, pieces, page_size, seed):
    """One piece without a cache, several pieces with one, then token by token, left padded."""
    model = _model(config, seed)
    twin = transformers_twin(model)
    prompts = [_random_ids(config, length, seed + i) for i, length in enumerate(lengths)]
    longest = max(lengths)
    padded = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        expected = twin(input_ids=padded, attention_mask=mask).logits[mask.bool()]
        recording = Recording(router=True)
        whole = model(replace(ForwardBatch.from_sequences(prompts), recording=recording))
        cached = _in_pieces(model, prompts, pieces, page_size)
    assume_clear_routing(recording.router_logits.values(), config.experts_per_token)
    assert (whole - expected).abs().max() <= TOLERANCE
    assert (cached - expected).abs().max() <= TOLERANCE


def _in_pieces(
    model: CausalLM, prompts: list[list[int]], pieces: int, page_size: int
) -> torch.Tensor:
    """Feed each prompt in `pieces` chunks, the last 3 tokens one at a time; all logits in order."""
    rows: list[torch.Tensor] = []
    for prompt in prompts:
        cache = HandPagedCache(model.config, 1, len(prompt), page_size)
        tail = min(3, len(prompt) - 1)
        head = len(prompt) - tail
        step = -(-head // pieces)
        bounds = [*range(0, head, step), *range(head, len(prompt) + 1)]
        rows += [model(cache.batch([prompt[start:end]])) for start, end in pairwise(bounds)]
    return torch.cat(rows)


@settings(max_examples=15, deadline=None)
@given(config=model_configs(expert_format="mxfp4"), seed=st.integers(0, 2**31))
def test_packed_experts_match(config, seed):
    """MXFP4 experts against transformers' own dequantisation of the same bytes."""
    model = _model(config, seed)
    ids = _random_ids(config, 40, seed)
    with torch.inference_mode():
        expected = transformers_twin(model)(input_ids=torch.tensor([ids])).logits[0]
        recording = Recording(router=True)
        actual = model(replace(ForwardBatch.from_sequences([ids]), recording=recording))
    assume_clear_routing(recording.router_logits.values(), config.experts_per_token)
    assert (actual - expected).abs().max() <= TOLERANCE


def test_token_by_token_across_the_window_in_a_batch():
    """Two sequences of different age decode together, far past window and original length."""
    model = small_model(seed=3)
    twin = transformers_twin(model)
    prompts = [_random_ids(model.config, n, n) for n in (5, 23)]
    cache = HandPagedCache(model.config, 2, 80, page_size=4)
    with torch.inference_mode():
        logits = model(cache.batch(prompts))[[4, 27]]
        for _ in range(40):
            for prompt, row in zip(prompts, logits, strict=True):
                expected = twin(input_ids=torch.tensor([prompt])).logits[0, -1]
                assert (row - expected).abs().max() <= TOLERANCE
                prompt.append(int(row.argmax()))
            logits = model(cache.batch([prompt[-1:] for prompt in prompts]))


def test_gradients_match():
    """Every parameter's gradient of a cross-entropy loss, and none is missing."""
    model = small_model(seed=5).train()
    twin = transformers_twin(model).train()
    ids = torch.tensor([_random_ids(model.config, 60, 0)])
    twin(input_ids=ids, labels=ids).loss.backward()
    logits = model(ForwardBatch.from_sequences(ids.tolist()))
    torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:]).backward()
    expected = dict(twin.named_parameters())
    for name, param in model.named_parameters():
        assert param.grad is not None, name
        assert param.grad.abs().max() > 0, name
        torch.testing.assert_close(param.grad, expected[name].grad, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_float_dtype_runs(dtype):
    """Other dtypes stay near the float32 logits, each within its own precision."""
    model = small_model(seed=7)
    batch = ForwardBatch.from_sequences([_random_ids(model.config, 30, 1)])
    with torch.inference_mode():
        expected = model(batch)
        actual = model.to(dtype)(batch)
    assert actual.dtype == dtype
    limit = {torch.float64: 1e-4, torch.bfloat16: 0.25, torch.float16: 0.04}[dtype]
    assert (actual.float() - expected).abs().mean() <= limit


def test_inference_first_does_not_spoil_gradients():
    """Tables cached under inference_mode must still serve autograd; packed experts pass it on."""
    model = small_model(seed=9, expert_format="mxfp4")
    batch = ForwardBatch.from_sequences([[1, 2, 3]])
    with torch.inference_mode():
        expected = model(batch)
    logits = model(batch)
    assert torch.equal(logits, expected)
    logits.sum().backward()
    assert model.model.embed_tokens.weight.grad.abs().max() > 0
    assert model.model.layers[0].mlp.router.weight.grad.abs().max() > 0

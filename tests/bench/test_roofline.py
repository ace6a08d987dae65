"""What a step must read and a prompt must compute, against real tensors and plain counting."""

from __future__ import annotations

import random
from typing import get_args

import pytest
import torch

from ossia.bench.roofline import (
    expected_distinct,
    kv_bytes,
    launch_bytes,
    pass_flops,
    pass_kv_bytes,
    prefill_flops,
    weight_bytes,
)
from ossia.bench.subject import Subject
from ossia.checkpoint.reader import open_checkpoint
from ossia.config import PRESETS, ModelConfig
from ossia.engine.config import KVDtype
from ossia.model.fp8_weights import round_weights
from ossia.model.heads import CausalLM
from ossia.model.quantizing import quantize_weights
from support.folders import tiny_config, write_tiny_folder
from support.models import small_model


@pytest.fixture(scope="module", params=["mxfp4", "dense"])
def sizes(request, tmp_path_factory) -> tuple[ModelConfig, dict[str, int]]:
    """A written checkpoint and the bytes of each of its tensors."""
    folder = tmp_path_factory.mktemp("roofline") / "tiny"
    write_tiny_folder(folder, expert_format=request.param, num_hidden_layers=3, num_experts=6)
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.config, {name: tensor.nbytes for name, tensor in checkpoint.items()}


@pytest.mark.parametrize("distinct", [1, 4, 6])
@pytest.mark.parametrize("batch", [1, 5])
def test_bytes_are_those_of_a_checkpoint_s_tensors(sizes, distinct: int, batch: int):
    config, nbytes = sizes
    expected = batch * nbytes["model.embed_tokens.weight"] / config.vocab_size
    for name, size in nbytes.items():
        if ".experts." in name:
            expected += size * distinct / config.num_experts
        elif "embed_tokens" not in name:
            expected += size
    assert weight_bytes(config, 2, batch, distinct) == pytest.approx(expected)


def test_all_experts_and_the_embedding_make_the_whole_checkpoint(sizes):
    config, nbytes = sizes
    row = config.hidden_size * 2
    whole = weight_bytes(config, 2, 0, config.num_experts) + row * config.vocab_size
    assert whole == pytest.approx(sum(nbytes.values()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wider_floats_are_those_of_a_model(dtype: torch.dtype):
    config = tiny_config()
    with torch.device("meta"):
        model = CausalLM(config).to(dtype)
    floats = sum(param.nbytes for param in model.parameters())
    embedding = model.model.embed_tokens.weight.nbytes
    found = weight_bytes(config, dtype.itemsize, 0, config.num_experts)
    assert found == pytest.approx(floats - embedding)


@pytest.mark.parametrize("batch", [1, 5])
def test_matrices_of_8_bits_are_those_of_a_rounded_model(batch: int):
    shape = {"vocab_size": 96, "intermediate_size": 96, "num_hidden_layers": 3}
    model = small_model(3, expert_format="mxfp4", **shape).to(torch.bfloat16)
    quantize_weights(model, int8_activations=False)
    held = Subject("small", model, torch.device("cpu")).nbytes
    embedding = model.model.embed_tokens.weight
    expected = held - embedding.nbytes + batch * embedding[0].nbytes
    found = weight_bytes(model.config, 2, batch, model.config.num_experts, int8=True)
    assert found == pytest.approx(expected)
    assert found < weight_bytes(model.config, 2, batch, model.config.num_experts)


@pytest.mark.parametrize("parts", [{"unembedding"}, {"unembedding", "attention"}])
def test_matrices_of_8_bit_floats_are_those_of_a_rounded_model(parts: set[str]):
    shape = {"vocab_size": 97, "intermediate_size": 96, "num_hidden_layers": 3}
    model = small_model(3, expert_format="mxfp4", **shape).to(torch.bfloat16)
    round_weights(model, parts)
    subject = Subject("small", model, torch.device("cpu"))
    told = f"bfloat16, {' and '.join(sorted(parts))} float8_e4m3fn"
    assert (subject.fp8_parts, subject.describe()["dense_weights"]) == (parts, told)
    embedding = model.model.embed_tokens.weight
    expected = subject.nbytes - embedding.nbytes + embedding[0].nbytes
    found = weight_bytes(model.config, 2, 1, model.config.num_experts, fp8=parts)
    assert found == pytest.approx(expected)
    assert found < weight_bytes(model.config, 2, 1, model.config.num_experts)


@pytest.mark.parametrize(("experts", "per_token"), [(4, 2), (32, 4), (128, 4), (5, 5)])
@pytest.mark.parametrize("tokens", [1, 3, 16])
def test_distinct_experts_against_drawing_them(experts: int, per_token: int, tokens: int):
    draws = [
        len({one for _ in range(tokens) for one in random.sample(range(experts), per_token)})
        for _ in range(4000)
    ]
    mean = sum(draws) / len(draws)
    # Within five standard errors; rare draws may not have come at all.
    spread = (sum((draw - mean) ** 2 for draw in draws) / len(draws)) ** 0.5
    assert abs(expected_distinct(experts, per_token, tokens) - mean) <= 5 * spread / 63 + 0.005


def test_one_token_reads_its_own_experts_by_default():
    config = PRESETS["20b"]()
    assert weight_bytes(config, 2, 1) == pytest.approx(weight_bytes(config, 2, 1, 4))
    assert weight_bytes(config, 2, 8) < weight_bytes(config, 2, 8, 32)


@pytest.mark.parametrize("context", [1, 7, 8, 9, 100])
def test_keys_and_values_against_counting(context: int):
    config = tiny_config(num_hidden_layers=5)
    expected = 0
    for idx in range(5):
        window = config.window_of(idx)
        keys = [key for key in range(context) if window is None or context - 1 - key < window]
        expected += len(keys) * 2 * config.num_key_value_heads * config.head_dim * 2
    assert kv_bytes(config, 2, 3, context) == 3 * expected


@pytest.mark.parametrize(
    ("kv_dtype", "full", "sliding"),
    [
        ("fp8", 16, 32),
        ("int8", 20, 20),
        ("float32", 64, 64),
        ("bfloat16", 32, 32),
        ("auto", 32, 32),
    ],
)
def test_keys_and_values_count_as_they_are_stored(kv_dtype: str, full: int, sliding: int):
    config = tiny_config(num_hidden_layers=4, head_dim=16, sliding_window=8)
    expected = 2 * config.num_key_value_heads * (2 * 100 * full + 2 * 8 * sliding)
    assert kv_bytes(config, 2, 3, 100, kv_dtype) == 3 * expected


def test_every_way_to_store_them_is_known():
    config = tiny_config(num_hidden_layers=2)
    assert all(kv_bytes(config, 2, 1, 9, kind) > 0 for kind in get_args(KVDtype))


@pytest.mark.parametrize(("prompt", "depth"), [(1, 0), (5, 0), (13, 0), (4, 17), (20, 16)])
def test_operations_against_counting(prompt: int, depth: int):
    config = tiny_config(num_experts=8, experts_per_token=3, num_hidden_layers=3)
    with torch.device("meta"):
        model = CausalLM(tiny_config(num_experts=8, experts_per_token=3, num_hidden_layers=3, expert_format="dense"))  # fmt: skip
    products = 0
    for name, param in model.named_parameters():
        if param.ndim == 2 and "lm_head" not in name and "embed" not in name and "bias" not in name:
            products += prompt * param.numel()
        elif name.endswith(("gate_up_proj", "down_proj")):
            products += prompt * param.numel() // 8 * 3
    products += model.lm_head.weight.numel()
    for idx in range(3):
        window = config.window_of(idx) or 10**9
        for query in range(depth, depth + prompt):
            seen = sum(query - key < window for key in range(query + 1))
            products += seen * 2 * config.num_attention_heads * config.head_dim
    assert prefill_flops(config, 2, prompt, depth) == 2 * 2 * products


PASSES = [([1], [0]), ([1, 1, 1], [5, 40, 7]), ([13, 1, 4, 20], [0, 30, 17, 3])]


@pytest.mark.parametrize(("counts", "before"), PASSES)
def test_the_keys_and_values_of_a_pass_against_counting(counts: list[int], before: list[int]):
    config = tiny_config(num_hidden_layers=3)
    expected = 0
    for idx in range(3):
        window = config.window_of(idx) or 10**9
        for count, old in zip(counts, before, strict=True):
            queries = range(old, old + count)
            seen = {key for query in queries for key in range(query + 1) if query - key < window}
            expected += len(seen) * 2 * config.num_key_value_heads * config.head_dim * 2
    assert pass_kv_bytes(config, 2, counts, before) == expected


@pytest.mark.parametrize("kv_dtype", ["auto", "fp8", "int8"])
def test_a_step_is_a_pass_of_single_tokens(kv_dtype: str):
    config = PRESETS["20b"]()
    found = pass_kv_bytes(config, 2, [1] * 3, [299] * 3, kv_dtype)
    assert found == kv_bytes(config, 2, 3, 300, kv_dtype)


@pytest.mark.parametrize(("counts", "before"), PASSES)
def test_the_operations_of_a_pass_are_those_of_its_sequences(counts: list[int], before: list[int]):
    config = tiny_config(num_hidden_layers=3)
    pairs = zip(counts, before, strict=True)
    expected = sum(prefill_flops(config, 1, count, old) for count, old in pairs)
    assert pass_flops(config, counts, before, len(counts)) == expected
    head = 2 * config.hidden_size * config.vocab_size
    assert pass_flops(config, counts, before, 0) == expected - len(counts) * head


def test_a_pass_without_logits_reads_no_unembedding():
    config = PRESETS["20b"]()
    whole = weight_bytes(config, 2, 9)
    assert whole - weight_bytes(config, 2, 9, unembedding=False) == pytest.approx(
        2 * config.hidden_size * config.vocab_size
    )


def test_the_launches_of_a_step_read_what_a_step_must():
    """All but norms, biases, sinks and the embedding's row, which are a thousandth."""
    config = PRESETS["20b"]()
    each = launch_bytes(config, 4, 3, 5000)
    assert each["attention"] * 24 == pytest.approx(kv_bytes(config, 2, 3, 5000))
    assert each["experts"] == each["gate_up"] + each["down"]
    layer = ("qkv", "o", "router", "experts")
    whole = sum(each[name] for name in layer) * 24 + each["unembedding"]
    assert 0.999 < whole / weight_bytes(config, 2, 1) < 1

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.checkpoint.random_weights import parse_random_name, random_tensors
from ossia.checkpoint.spec import TensorKind, tensor_specs
from ossia.config import PRESETS, ModelConfig
from ossia.errors import ConfigError
from ossia.kernels.mxfp4 import unpack
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM
from support.checkpoints import raw_bytes, tiny_config, tiny_configs

# Large enough for statistics, small enough to make in a moment.
MIDDLE = tiny_config(
    hidden_size=256, intermediate_size=256, vocab_size=1000, num_attention_heads=32
)

SINKS = [
    -0.0015411376953125,
    -0.027099609375,
    -0.017578125,
    -0.01361083984375,
    -0.00830078125,
    -0.004638671875,
    -0.0157470703125,
    -0.005828857421875,
]
BLOCKS = [155, 175, 136, 41, 203, 84, 202, 62]
SCALES = [117, 117, 116, 116, 117, 116, 117, 116]


@pytest.mark.parametrize("preset", PRESETS)
def test_names(preset):
    assert parse_random_name(f"random:{preset}") == PRESETS[preset]()


@pytest.mark.parametrize("name", ["random:", "random:21b", "20b", "random:20B"])
def test_unknown_names(name):
    with pytest.raises(ConfigError, match="known: random:20b, random:120b, random:tiny"):
        parse_random_name(name)


@settings(max_examples=20)
@given(config=tiny_configs(), dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]))
def test_fits_the_table(config, dtype):
    specs = tensor_specs(config)
    tensors = dict(random_tensors(config, dtype=dtype))
    assert list(tensors) == list(specs)
    for name, tensor in tensors.items():
        assert tuple(tensor.shape) == specs[name].shape
        assert tensor.dtype == (torch.uint8 if "U8" in specs[name].dtypes else dtype)


def expected_std(name: str) -> float:
    if "embed_tokens" in name:
        return 0.02 * 64
    return 0.02 / 8 if name.endswith(("o_proj.weight", "down_proj")) else 0.02


def chi_square(counts: torch.Tensor) -> float:
    """In standard deviations from what equally likely cells would give."""
    expected = counts.sum() / counts.numel()
    freedom = counts.numel() - 1
    return ((counts - expected).square().sum() / expected - freedom).item() / math.sqrt(2 * freedom)


@pytest.mark.parametrize("expert_format", ["mxfp4", "dense"])
def test_floats_are_normal(expert_format):
    config = replace(MIDDLE, expert_format=expert_format)
    specs = tensor_specs(config)
    for name, tensor in random_tensors(config, dtype=torch.float32):
        if specs[name].kind is TensorKind.NORM:
            assert tensor.eq(1).all()
        elif tensor.dtype == torch.float32 and tensor.numel() > 10_000:
            scaled = tensor.view(-1) / expected_std(name)
            margin = 5 / math.sqrt(tensor.numel())  # five standard errors
            assert abs(scaled.mean().item()) < margin
            assert abs(scaled.std().item() - 1) < margin
            slices = torch.special.ndtr(scaled).mul(64).long()
            assert abs(chi_square(slices.bincount(minlength=64))) < 5


@pytest.mark.parametrize(("proj", "std"), [("gate_up_proj", 0.018), ("down_proj", 0.018 / 8)])
def test_packed_experts_are_uniform_codes(proj, std):
    tensors = dict(random_tensors(MIDDLE))
    stem = f"model.layers.1.mlp.experts.{proj}"
    blocks, scales = tensors[f"{stem}_blocks"], tensors[f"{stem}_scales"]
    assert abs(chi_square(blocks.view(-1).int().bincount(minlength=256))) < 5
    low = 119 if proj == "gate_up_proj" else 116
    assert set(scales.unique().tolist()) == {low, low + 1}
    assert unpack(blocks, scales, torch.float32).std().item() == pytest.approx(std, rel=0.05)


def test_routing_reaches_every_expert_in_every_layer():
    config = replace(MIDDLE, num_hidden_layers=24, layer_types=(), num_experts=16)
    with torch.device("meta"):
        model = CausalLM(config)
    tensors = dict(random_tensors(config, dtype=torch.float32))
    state = {name: tensors[name] for name in model.state_dict()}
    model.load_state_dict(state, assign=True)
    counts: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.mlp.router.register_forward_hook(
            lambda module, inputs, logits: counts.append(
                logits.topk(config.experts_per_token).indices.view(-1).bincount(minlength=16)
            )
        )
    tokens = 256
    ids = torch.randint(0, config.vocab_size, (tokens,)).tolist()
    with torch.inference_mode():
        assert model(ForwardBatch.from_sequences([ids])).isfinite().all()
    mean = tokens * config.experts_per_token / 16
    assert len(counts) == 24
    for count in counts:
        assert count.min() > mean / 4
        assert count.max() < mean * 2.5


def all_bytes(config: ModelConfig, **options: object) -> dict[str, bytes]:
    return {name: raw_bytes(tensor) for name, tensor in random_tensors(config, **options)}


def test_depends_on_seed_and_name_only():
    first = all_bytes(MIDDLE)
    assert all_bytes(MIDDLE) == first
    random_names = [name for name in first if not name.endswith("norm.weight")]
    assert len({first[name] for name in random_names}) == len(random_names)
    other = all_bytes(MIDDLE, seed=1)
    assert not any(other[name] == first[name] for name in random_names)
    more_layers = replace(MIDDLE, num_hidden_layers=3, layer_types=())
    assert all_bytes(more_layers).items() > first.items()


def test_no_chunk_repeats_another():
    config = tiny_config(vocab_size=20_000)  # embedding of 320,000 words: several chunks
    words = dict(random_tensors(config))["model.embed_tokens.weight"].view(-1).view(torch.int64)
    assert words.unique().numel() > 0.999 * words.numel()


def test_these_bytes_for_ever():
    """Results measured on random models stay comparable between versions and machines."""
    tensors = dict(random_tensors(PRESETS["tiny"]()))
    assert tensors["model.layers.0.self_attn.sinks"].tolist() == SINKS
    stem = "model.layers.1.mlp.experts.down_proj"
    assert tensors[f"{stem}_blocks"].view(-1)[:8].tolist() == BLOCKS
    assert tensors[f"{stem}_scales"].view(-1)[:8].tolist() == SCALES


@pytest.mark.gpu
def test_the_same_bytes_on_a_gpu():
    on_gpu = {
        name: raw_bytes(tensor.cpu()) for name, tensor in random_tensors(MIDDLE, device="cuda")
    }
    assert on_gpu == all_bytes(MIDDLE)

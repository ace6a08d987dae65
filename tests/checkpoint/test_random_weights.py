import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.checkpoint.random_weights import parse_random_name, random_tensors
from ossia.checkpoint.spec import TensorKind, tensor_specs
from ossia.config import PRESETS, ModelConfig
from ossia.errors import ConfigError
from ossia.kernels.mxfp4 import unpack
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
SCALES = [120, 120, 119, 119, 120, 119, 120, 119]


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


@pytest.mark.parametrize("expert_format", ["mxfp4", "dense"])
def test_magnitudes(expert_format):
    config = tiny_config(
        hidden_size=256, intermediate_size=256, vocab_size=1000, expert_format=expert_format
    )
    specs = tensor_specs(config)
    tensors = dict(random_tensors(config, dtype=torch.float32))
    for name, tensor in tensors.items():
        if specs[name].kind is TensorKind.NORM:
            assert tensor.eq(1).all()
        elif tensor.dtype == torch.uint8:
            continue
        elif tensor.numel() > 10_000:
            margin = 5 / math.sqrt(tensor.numel())  # five standard errors
            assert abs(tensor.mean().item()) < 0.02 * margin
            assert abs(tensor.std().item() - 0.02) < 0.02 * margin
            # 16 equally likely slices of the normal distribution are equally filled.
            slices = (
                torch.special.ndtr(tensor.view(-1) / 0.02).mul(16).long().bincount(minlength=16)
            )
            assert slices.sub(tensor.numel() / 16).abs().max() < 5 * math.sqrt(tensor.numel() / 16)
    if expert_format == "mxfp4":
        stem = "model.layers.1.mlp.experts.gate_up_proj"
        blocks, scales = tensors[f"{stem}_blocks"], tensors[f"{stem}_scales"]
        counts = blocks.view(-1).int().bincount(minlength=256)
        expected = blocks.numel() / 256
        assert counts.sub(expected).abs().max() < 6 * math.sqrt(expected)
        assert set(scales.unique().tolist()) == {119, 120}
        assert unpack(blocks, scales, torch.float32).std().item() == pytest.approx(0.018, rel=0.05)


def all_bytes(config: ModelConfig, **options: object) -> dict[str, bytes]:
    return {name: raw_bytes(tensor) for name, tensor in random_tensors(config, **options)}


def test_depends_on_seed_and_name_only():
    first = all_bytes(MIDDLE)
    assert all_bytes(MIDDLE) == first
    random_names = [name for name in first if not name.endswith("norm.weight")]
    assert len({first[name] for name in random_names}) == len(random_names)
    other = all_bytes(MIDDLE, seed=1)
    assert not any(other[name] == first[name] for name in random_names)
    more_layers = tiny_config(
        hidden_size=256,
        intermediate_size=256,
        vocab_size=1000,
        num_attention_heads=32,
        num_hidden_layers=3,
    )
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

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.checkpoint.convert import convert, dequantize_experts, quantize_experts
from ossia.checkpoint.folder import SIDE_FILES
from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.reader import open_checkpoint
from ossia.checkpoint.writer import write_checkpoint
from ossia.errors import CheckpointError, ConfigError
from ossia.kernels.mxfp4 import unpack
from support.checkpoints import tensor_bytes, tiny_config, tiny_configs, write_tiny

EXPERTS = "model.layers.0.mlp.experts.down_proj"


@settings(max_examples=25)
@given(config=tiny_configs(), shard=st.sampled_from([5_000, 5_000_000_000]))
def test_through_the_other_layout_and_back(config, shard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    source = write_tiny(folder / "source", config)
    original = convert(source, folder / "original", layout="original", max_shard_bytes=shard)
    back = convert(original, folder / "back", layout="hf")
    assert open_checkpoint(original).layout == "original"
    assert tensor_bytes(open_checkpoint(back)) == tensor_bytes(open_checkpoint(source))
    assert open_checkpoint(back).config == config
    # Not only the tensors: the very files are the same.
    assert (back / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert (back / "config.json").read_bytes() == (source / "config.json").read_bytes()


@settings(max_examples=25)
@given(config=tiny_configs().filter(lambda config: config.expert_format == "mxfp4"))
def test_through_bfloat16_and_back(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    source = open_checkpoint(write_tiny(folder / "source", config))
    dense = open_checkpoint(convert(source.folder, folder / "dense", experts="dense"))
    assert dense.config == replace(config, expert_format="dense")
    back = open_checkpoint(convert(dense.folder, folder / "back", experts="mxfp4"))
    assert back.config == config
    for name in source.names:
        if name.endswith("_blocks"):
            scales = name.replace("blocks", "scales")
            assert torch.equal(
                unpack(back.get(name), back.get(scales)),
                unpack(source.get(name), source.get(scales)),
            )
        elif not name.endswith("_scales"):
            assert torch.equal(back.get(name), source.get(name))


@settings(max_examples=40)
@given(
    experts=st.integers(1, 3),
    rows=st.integers(1, 5),
    groups=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
)
def test_any_packed_tensor_survives(experts, rows, groups, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (experts, rows, groups, 16), generator=generator).byte()
    # From the smallest scale up to the largest whose values are finite in bfloat16.
    scales = torch.randint(2, 252, (experts, rows, groups), generator=generator).byte()
    dense = dequantize_experts(blocks, scales, dtype)
    assert dense.shape == (experts, groups * 32, rows)
    again = dequantize_experts(*quantize_experts(dense, "it"), dtype)
    assert torch.equal(again, dense)
    assert torch.equal(torch.signbit(again), torch.signbit(dense))


def test_dense_experts_are_the_transposed_rows(tmp_path):
    source = open_checkpoint(write_tiny(tmp_path / "source"))
    dense = open_checkpoint(convert(source.folder, tmp_path / "dense", experts="dense"))
    rows = unpack(source.get(f"{EXPERTS}_blocks"), source.get(f"{EXPERTS}_scales"))
    assert rows.shape == (4, 64, 32)
    assert torch.equal(dense.get(EXPERTS), rows.transpose(1, 2))
    assert dense.get(EXPERTS).dtype == torch.bfloat16


def test_ordinary_weights_are_rounded_to_the_nearest_code(tmp_path):
    config = tiny_config(expert_format="dense")
    source = open_checkpoint(write_tiny(tmp_path / "source", config))
    packed = open_checkpoint(convert(source.folder, tmp_path / "packed", experts="mxfp4"))
    blocks, scales = (packed.get(f"{EXPERTS}_{part}") for part in ("blocks", "scales"))
    exact = source.get(EXPERTS).float().mT.unflatten(-1, (-1, 32))  # (experts, out, groups, 32)
    rounded = dequantize_experts(blocks, scales, torch.float32).mT.unflatten(-1, (-1, 32))
    codes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    grid = torch.cat((codes, -codes)) * torch.exp2(scales.float() - 127)[..., None]
    distances = (exact[..., None] - grid[..., None, :]).abs()
    assert torch.equal((rounded - exact).abs(), distances.amin(dim=-1))
    # The scale is as small as it may be: halved, the largest value would be out of reach.
    assert (exact.abs().amax(dim=-1) > grid.amax(dim=-1) / 2).all()


def test_float_dtype(tmp_path):
    source = write_tiny(tmp_path / "source", tiny_config(expert_format="dense"))
    wide = open_checkpoint(convert(source, tmp_path / "wide", dtype=torch.float32))
    assert {tensor.dtype for _, tensor in wide.items()} == {torch.float32}
    with pytest.raises(CheckpointError, match=r"F32.*BF16"):
        convert(wide.folder, tmp_path / "original", layout="original")
    convert(wide.folder, tmp_path / "original", layout="original", dtype=torch.bfloat16)
    back = convert(tmp_path / "original", tmp_path / "back", layout="hf")
    assert tensor_bytes(open_checkpoint(back)) == tensor_bytes(open_checkpoint(source))


def test_float_dtype_leaves_packed_experts_alone(tmp_path):
    source = open_checkpoint(write_tiny(tmp_path / "source"))
    wide = open_checkpoint(convert(source.folder, tmp_path / "wide", dtype=torch.float32))
    assert torch.equal(wide.get(f"{EXPERTS}_blocks"), source.get(f"{EXPERTS}_blocks"))
    dense = open_checkpoint(
        convert(source.folder, tmp_path / "dense", experts="dense", dtype=torch.float16)
    )
    assert {tensor.dtype for _, tensor in dense.items()} == {torch.float16}


@pytest.mark.parametrize(
    ("value", "options", "says"),
    [
        (1e6, {"dtype": torch.float16}, "float16 cannot hold"),
        (float("nan"), {"experts": "mxfp4"}, f"{EXPERTS}: expert 2: .*NaN"),
    ],
)
def test_values_that_do_not_fit(tmp_path, value, options, says):
    config = tiny_config(expert_format="dense")
    tensors = dict(random_tensors(config))
    tensors[EXPERTS][2, 1, 1] = value
    source = write_checkpoint(tmp_path / "source", config, tensors)
    with pytest.raises(CheckpointError, match=says):
        convert(source, tmp_path / "target", **options)
    assert not (tmp_path / "target").exists()


def test_widths_that_mxfp4_cannot_have(tmp_path):
    source = write_tiny(tmp_path / "it", tiny_config(expert_format="dense", hidden_size=40))
    with pytest.raises(ConfigError, match="no multiple of 32"):
        convert(source, tmp_path / "target", experts="mxfp4")


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_side_files_come_along(tmp_path, layout):
    repository = write_tiny(tmp_path / "repository")
    for name in SIDE_FILES:
        (repository / name).write_text(json.dumps({"from": name}))
    write_tiny(repository / "original", layout="original")
    (repository / "notes.txt").touch()
    for source in (repository, repository / "original"):
        target = convert(source, tmp_path / "target", layout=layout, overwrite=True)
        for name in SIDE_FILES:
            assert json.loads((target / name).read_text()) == {"from": name}
        assert not (target / "notes.txt").exists()


def test_in_place(tmp_path):
    folder = write_tiny(tmp_path / "it")
    before = tensor_bytes(open_checkpoint(folder))
    with pytest.raises(CheckpointError, match="is not empty"):
        convert(folder, folder, layout="original")
    convert(folder, folder, layout="original", overwrite=True)
    assert open_checkpoint(folder).layout == "original"
    assert tensor_bytes(open_checkpoint(folder)) == before

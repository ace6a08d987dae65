import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save_file

from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.reader import open_checkpoint
from ossia.checkpoint.spec import tensor_specs
from ossia.errors import CheckpointError
from support.checkpoints import raw_bytes, tensor_bytes, tiny_config, tiny_configs, write_tiny


@settings(max_examples=40)
@given(config=tiny_configs())
def test_both_layouts_give_the_tensors_that_were_written(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    written = {name: raw_bytes(tensor) for name, tensor in random_tensors(config)}
    for layout in ("hf", "original"):
        with open_checkpoint(write_tiny(folder / layout, config, layout)) as checkpoint:
            assert checkpoint.layout == layout
            assert checkpoint.config == config
            assert checkpoint.names == tuple(tensor_specs(config))
            found = {name: raw_bytes(tensor) for name, tensor in checkpoint.items()}
            assert found == written
            assert checkpoint.nbytes == sum(map(len, written.values()))


def test_shapes_and_dtypes_are_the_table_s(tmp_path):
    config = tiny_config()
    for layout in ("hf", "original"):
        checkpoint = open_checkpoint(write_tiny(tmp_path / layout, config, layout))
        for name, spec in tensor_specs(config).items():
            tensor = checkpoint.get(name)
            assert tuple(tensor.shape) == spec.shape
            assert tensor.dtype == (torch.uint8 if "U8" in spec.dtypes else torch.bfloat16)
            assert checkpoint.spec(name).dtypes == (("U8",) if "U8" in spec.dtypes else ("BF16",))


def test_fused_q_k_v_are_views_of_one_tensor(tmp_path):
    checkpoint = open_checkpoint(write_tiny(tmp_path / "it", layout="original"))
    prefix = "model.layers.1.self_attn."
    query, key, value = (checkpoint.get(f"{prefix}{part}_proj.weight") for part in "qkv")
    assert key.data_ptr() == query.data_ptr() + query.nbytes
    assert value.data_ptr() == key.data_ptr() + key.nbytes


def test_no_tensor_is_copied(tmp_path):
    folder = write_tiny(tmp_path / "it", tiny_config(expert_format="dense"), "original")
    checkpoint = open_checkpoint(folder)
    twice = [(tensor, checkpoint.get(name)) for name, tensor in checkpoint.items()]
    assert all(first.data_ptr() == second.data_ptr() for first, second in twice)


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_shards(tmp_path, layout):
    whole = open_checkpoint(write_tiny(tmp_path / "whole", layout=layout))
    cut = open_checkpoint(write_tiny(tmp_path / "cut", layout=layout, max_shard_bytes=20_000))
    assert len(list(cut.folder.glob("*.safetensors"))) > 3
    assert tensor_bytes(cut) == tensor_bytes(whole)


def test_shards_may_have_any_name(tmp_path):
    folder = write_tiny(tmp_path / "it", max_shard_bytes=40_000)
    before = tensor_bytes(open_checkpoint(folder))
    index_file = folder / "model.safetensors.index.json"
    index = json.loads(index_file.read_text())
    for number, path in enumerate(sorted(folder.glob("*.safetensors"))):
        # The released 20b counts its three shards from 0 and calls them "of 2".
        name = f"model-{number:05d}-of-00002.safetensors"
        path.rename(folder / f"{name}.moved")
        places = index["weight_map"]
        index["weight_map"] = {key: name if at == path.name else at for key, at in places.items()}
    for path in folder.glob("*.moved"):
        path.rename(path.with_suffix(""))
    index_file.write_text(json.dumps(index))
    assert tensor_bytes(open_checkpoint(folder)) == before


def test_shards_without_an_index(tmp_path):
    folder = write_tiny(tmp_path / "it", max_shard_bytes=40_000)
    before = tensor_bytes(open_checkpoint(folder))
    (folder / "model.safetensors.index.json").unlink()
    assert tensor_bytes(open_checkpoint(folder)) == before


def test_original_folder_inside_a_repository(tmp_path):
    repository = tmp_path / "gpt-oss"
    write_tiny(repository / "original", layout="original")
    assert open_checkpoint(repository).layout == "original"
    assert open_checkpoint(repository / "original").layout == "original"
    write_tiny(tmp_path / "hf")
    for path in (tmp_path / "hf").iterdir():
        shutil.move(path, repository)
    assert open_checkpoint(repository).layout == "hf"
    assert open_checkpoint(str(repository / "original")).layout == "original"


def test_original_weights_beside_a_hugging_face_config(tmp_path):
    hf, original = write_tiny(tmp_path / "hf"), write_tiny(tmp_path / "original", layout="original")
    shutil.copyfile(hf / "config.json", original / "config.json")
    checkpoint = open_checkpoint(original)
    assert checkpoint.layout == "original"
    assert checkpoint.config == open_checkpoint(hf).config


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_float_dtypes(tmp_path, dtype):
    config = tiny_config(expert_format="dense")
    folder = write_tiny(tmp_path / "it", config)
    path = folder / "model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
    checkpoint = open_checkpoint(folder)
    assert {tensor.dtype for _, tensor in checkpoint.items()} == {dtype}


def test_tensors_outlive_the_checkpoint_but_not_get(tmp_path):
    with open_checkpoint(write_tiny(tmp_path / "it")) as checkpoint:
        norm = checkpoint.get("model.norm.weight")
        with pytest.raises(KeyError):
            checkpoint.get("model.layers.9.self_attn.sinks")
    assert norm.eq(1).all()
    with pytest.raises(CheckpointError, match="was closed"):
        checkpoint.get("model.norm.weight")

import json
import os
import weakref
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from ossia.checkpoint.names import stored_tensors
from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.reader import open_checkpoint
from ossia.checkpoint.writer import write_checkpoint
from ossia.config import ModelConfig
from ossia.errors import CheckpointError, ConfigError
from support.checkpoints import (
    raw_bytes,
    split_file,
    tensor_bytes,
    tiny_config,
    tiny_configs,
    write_tiny,
)

SINKS = "model.layers.0.self_attn.sinks"


@settings(max_examples=30)
@given(
    config=tiny_configs(),
    order=st.randoms(use_true_random=False),
    layout=st.sampled_from(["hf", "original"]),
    max_shard_bytes=st.integers(1, 30_000),
)
def test_any_order_and_any_shard_size(config, order, layout, max_shard_bytes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "it"
    tensors = dict(random_tensors(config))
    pairs = list(tensors.items())
    order.shuffle(pairs)
    write_checkpoint(folder, config, pairs, layout=layout, max_shard_bytes=max_shard_bytes)
    found = {name: raw_bytes(tensor) for name, tensor in open_checkpoint(folder).items()}
    assert found == {name: raw_bytes(tensor) for name, tensor in tensors.items()}
    for path in folder.glob("*.safetensors"):
        header, data = split_file(path)
        assert len(data) <= max_shard_bytes or len(header) == 2  # one tensor and the metadata


def test_shard_names_and_index_are_what_transformers_expects(tmp_path):
    whole = write_tiny(tmp_path / "whole")
    assert sorted(path.name for path in whole.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    cut = write_tiny(tmp_path / "cut", max_shard_bytes=40_000)
    shards = sorted(path.name for path in cut.glob("*.safetensors"))
    count = len(shards)
    assert shards == [f"model-{idx + 1:05d}-of-{count:05d}.safetensors" for idx in range(count)]
    index = json.loads((cut / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == open_checkpoint(cut).nbytes
    for name in shards:
        with safe_open(cut / name, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert {key for key, at in index["weight_map"].items() if at == name} == set(
                file.keys()
            )


def test_the_library_reads_the_same_bytes(tmp_path):
    folder = write_tiny(tmp_path / "it")
    theirs = load_file(folder / "model.safetensors")
    ours = dict(open_checkpoint(folder).items())
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_tensors_are_aligned_even_among_mixed_dtypes(tmp_path):
    config = tiny_config(expert_format="dense", num_attention_heads=1, num_key_value_heads=1)
    tensors = dict(random_tensors(config))
    after_sinks = "model.layers.0.self_attn.o_proj.bias"
    mixed = {SINKS: tensors.pop(SINKS), after_sinks: tensors.pop(after_sinks).float()} | tensors
    folder = write_checkpoint(tmp_path / "it", config, mixed)
    for path in folder.glob("*.safetensors"):
        start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        header, _ = split_file(path)
        for name, entry in header.items():
            if name != "__metadata__":
                assert (start + entry["data_offsets"][0]) % (
                    4 if entry["dtype"] == "F32" else 2
                ) == 0
    assert torch.equal(open_checkpoint(folder).get(after_sinks), mixed[after_sinks])


def test_tensors_are_let_go_as_they_are_written(tmp_path):
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watched(config: ModelConfig) -> Iterator[tuple[str, torch.Tensor]]:
        nonlocal most
        for name, tensor in random_tensors(config):
            alive.append(weakref.ref(tensor))
            yield name, tensor
            del tensor
            most = max(most, sum(ref() is not None for ref in alive))

    for layout, limit in (("hf", 2), ("original", 6)):  # q, k, v and their biases wait together
        config = tiny_config()
        write_checkpoint(tmp_path / layout, config, watched(config), layout=layout)
        assert most <= limit
        alive.clear()


def test_any_memory_layout_is_written_in_order(tmp_path):
    config = tiny_config()
    tensors = dict(random_tensors(config))
    strange = {
        name: torch.nn.Parameter(tensor.T.contiguous().T) if name == "lm_head.weight" else tensor
        for name, tensor in tensors.items()
    }
    assert not strange["lm_head.weight"].is_contiguous()
    folder = write_checkpoint(tmp_path / "it", config, strange)
    assert torch.equal(open_checkpoint(folder).get("lm_head.weight"), tensors["lm_head.weight"])


def test_configs(tmp_path):
    def written(config: ModelConfig, layout: str) -> dict:
        folder = tmp_path / f"{config.expert_format}-{layout}"
        return json.loads((write_tiny(folder, config, layout) / "config.json").read_text())

    packed, dense = tiny_config(), tiny_config(expert_format="dense")
    assert written(packed, "hf")["quantization_config"]["quant_method"] == "mxfp4"
    assert "quantization_config" not in written(dense, "hf")
    assert written(packed, "original") == written(dense, "original") == packed.to_original()


def test_generation_settings(tmp_path):
    real = tiny_config(vocab_size=201_088, hidden_size=32, num_hidden_layers=1)
    found = json.loads((write_tiny(tmp_path / "real", real) / "generation_config.json").read_text())
    assert found == {
        "bos_token_id": 199_998,
        "do_sample": True,
        "eos_token_id": [200_002, 199_999, 200_012],
        "pad_token_id": 199_999,
    }
    other = tiny_config(eos_token_id=7)
    found = json.loads(
        (write_tiny(tmp_path / "other", other) / "generation_config.json").read_text()
    )
    assert found == {"do_sample": True, "eos_token_id": 7}


def test_side_files_come_along_and_win(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text('{"mine": 1}')
    side_files = [tmp_path / "tokenizer.json", tmp_path / "generation_config.json"]
    folder = write_tiny(tmp_path / "it", side_files=side_files)
    assert (folder / "tokenizer.json").read_text() == "{}"
    assert (folder / "generation_config.json").read_text() == '{"mine": 1}'


def without(name: str):
    return lambda tensors: [pair for pair in tensors.items() if pair[0] != name]


def with_changed(name: str, change):
    return lambda tensors: [(key, change(at) if key == name else at) for key, at in tensors.items()]


@pytest.mark.parametrize(
    ("given_tensors", "layout", "says"),
    [
        (without(SINKS), "hf", f"{SINKS}: was not given"),
        (without("model.layers.1.self_attn.k_proj.bias"), "original", "k_proj.bias: was not given"),
        (lambda tensors: [], "hf", "as are 40 others"),
        (lambda tensors: [*tensors.items(), (SINKS, tensors[SINKS])], "hf", "was given twice"),
        (lambda tensors: [*tensors.items(), ("x", tensors[SINKS])], "hf", "x: is no tensor"),
        (with_changed(SINKS, lambda at: at[:3]), "hf", r"has shape \[3\]"),
        (with_changed(SINKS, lambda at: at.double()), "hf", "has dtype torch.float64"),
        (with_changed(SINKS, lambda at: at.float()), "original", "has dtype F32.* BF16"),
        (with_changed(SINKS, lambda at: at.byte()), "hf", "has dtype U8"),
    ],
)
def test_refuses_what_is_not_the_model(given_tensors, layout, says, tmp_path):
    config = tiny_config()
    old = write_tiny(tmp_path / "it", tiny_config(vocab_size=3))
    before = tensor_bytes(open_checkpoint(old))
    pairs = given_tensors(dict(random_tensors(config)))
    with pytest.raises(CheckpointError, match=says):
        write_checkpoint(old, config, pairs, layout=layout, overwrite=True)
    assert tensor_bytes(open_checkpoint(old)) == before
    assert os.listdir(tmp_path) == ["it"]


def test_refuses_a_folder_in_use(tmp_path):
    folder = write_tiny(tmp_path / "it")
    with pytest.raises(CheckpointError, match="is not empty"):
        write_tiny(folder)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(CheckpointError, match="so it is not overwritten"):
        write_tiny(tmp_path / "photos", overwrite=True)
    write_tiny(folder, tiny_config(vocab_size=3), overwrite=True)
    assert open_checkpoint(folder).config.vocab_size == 3


def test_refuses_a_config_that_the_layout_cannot_say(tmp_path):
    with pytest.raises(ConfigError, match="original layout"):
        write_tiny(tmp_path / "it", tiny_config(swiglu_alpha=1.0), "original")
    assert not (tmp_path / "it").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    def until_full(config: ModelConfig) -> Iterator[tuple[str, torch.Tensor]]:
        yield next(random_tensors(config))
        raise OSError(28, os.strerror(28))

    config = tiny_config()
    with pytest.raises(CheckpointError, match="No space left"):
        write_checkpoint(tmp_path / "it", config, until_full(config))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_progress_counts_up_to_the_end(tmp_path, layout):
    calls: list[tuple[str, int, int]] = []
    write_tiny(tmp_path / "it", layout=layout, progress=lambda *call: calls.append(call))
    total = len(stored_tensors(tiny_config(), layout))
    assert calls == [("writing", done + 1, total) for done in range(total)]

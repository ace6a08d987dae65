"""Every way we know in which a checkpoint folder is broken, and the one line it earns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ossia.checkpoint.reader import open_checkpoint
from ossia.errors import CheckpointError, ConfigError, ModelNotFoundError, OssiaError
from support.checkpoints import (
    Header,
    edit_header,
    edit_json,
    join_file,
    tiny_config,
    write_tiny,
)

SINKS = "model.layers.1.self_attn.sinks"
BLOCKS = "model.layers.0.mlp.experts.down_proj_blocks"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


@dataclass(frozen=True)
class Bad:
    """How to break a sound folder, and what must then be said."""

    name: str
    damage: Callable[[Path], object]
    says: str
    error: type[OssiaError] = CheckpointError
    file: str | None = WEIGHTS
    tensor: str | None = None
    layout: str = "hf"
    config: dict[str, Any] | None = None
    max_shard_bytes: int = 5_000_000_000


def header(edit: Callable[[Header], object]) -> Callable[[Path], object]:
    return lambda folder: edit_header(folder / WEIGHTS, lambda raw: edit(raw) and None)


def raw_header(content: bytes) -> Callable[[Path], object]:
    return lambda folder: join_file(folder / WEIGHTS, content, b"")


def tensors(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    """Rewrite the weights file with other tensors, all of it in itself sound."""

    def damage(folder: Path) -> None:
        state = {name: value.clone() for name, value in load_file(folder / WEIGHTS).items()}
        edit(state)
        save_file(state, folder / WEIGHTS)

    return damage


def config(**changes: object) -> Callable[[Path], object]:
    return lambda folder: edit_json(folder / CONFIG, **changes)


def content(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def append(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + data)


def instead(name: str | None, data: bytes = b"x" * 64) -> Callable[[Path], object]:
    """Another file, or none, in place of the weights."""

    def damage(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        if name is None:
            for path in folder.iterdir():
                path.unlink()
        else:
            (folder / name).write_bytes(data)

    return damage


def cut(keep: float) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[: int(len(data) * keep)])

    return damage


def index(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        raw = json.loads((folder / INDEX).read_text())
        edit(raw)
        (folder / INDEX).write_text(json.dumps(raw))

    return damage


def first_shard(folder: Path) -> Path:
    return sorted(folder.glob("*.safetensors"))[0]


def replace_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("weights")


def extra_tensor(folder: Path) -> None:
    save_file({SINKS: torch.zeros(6, dtype=torch.bfloat16)}, folder / "more.safetensors")


SHARDED = {"max_shard_bytes": 40_000}
DENSE = {"expert_format": "dense"}

BAD = [
    # the folder
    Bad("no such folder", lambda folder: folder.rename(folder.with_name("moved")), "no such folder",
        ModelNotFoundError, file="it"),
    Bad("a file instead of a folder", replace_folder, "give the folder", file="it"),
    Bad("an empty folder", instead(None), "holds no files", file="it"),
    Bad("gguf weights", instead("gpt-oss.gguf"), "GGUF", file="it"),
    Bad("pickled weights", instead("pytorch_model.bin"), r"\.bin", file="it"),
    Bad("config without weights", instead("README.md"), "no .safetensors", file="it"),
    # the weights file
    Bad("git lfs pointer", content(WEIGHTS, LFS_POINTER), "git lfs pull"),
    Bad("no bytes at all", content(WEIGHTS, b""), "0 bytes"),
    Bad("absurd header length", content(WEIGHTS, b"\xff" * 64), "no safetensors file"),
    Bad("a web page", content(WEIGHTS, b"<!doctype html><html></html>"), "no safetensors file"),
    Bad("cut in the header", cut(0.002), "truncated"),
    Bad("cut in the data", cut(0.9), "truncated", tensor="model."),
    Bad("trailing bytes", append(b"12345678"),
        "8 bytes that belong to no tensor"),
    Bad("header is no JSON", raw_header(b"{not json}"), "unreadable header"),
    Bad("header is no UTF-8", raw_header(b'{"\xff": 1}'), "unreadable header"),
    Bad("header nested without end", raw_header(b"[" * 100_000), "unreadable header"),
    Bad("header is no object", raw_header(b"[1, 2]"), "no JSON object"),
    Bad("header entry is no object", raw_header(b'{"lm_head.weight": 3}'), "no JSON object",
        tensor="lm_head.weight"),
    Bad("tensor named twice", raw_header(b'{"a.b": {}, "a.b": {}}'), "occurs twice"),
    Bad("tensor name of two lines", raw_header(b'{"a\\nb": {}}'), r"named 'a\\nb'"),
    Bad("dtype of another world", header(lambda raw: raw[SINKS].update(dtype="F8_E4M3")),
        "F8_E4M3", tensor=SINKS),
    Bad("dtype is no name", header(lambda raw: raw[SINKS].update(dtype=[1])), "dtype is", tensor=SINKS),
    Bad("negative dimension", header(lambda raw: raw[SINKS].update(shape=[-6])), "shape is",
        tensor=SINKS),
    Bad("offsets are no pair", header(lambda raw: raw[SINKS].update(data_offsets=[1])),
        "data_offsets", tensor=SINKS),
    Bad("offsets reversed", header(lambda raw: raw[SINKS]["data_offsets"].reverse()),
        "data_offsets", tensor=SINKS),
    Bad("shape and offsets disagree", header(lambda raw: raw[SINKS].update(shape=[7])),
        "does not fill", tensor=SINKS),
    Bad("offsets out of range",
        header(lambda raw: raw[SINKS].update(data_offsets=[10**12, 10**12 + 12])),
        "truncated", tensor=SINKS),
    Bad("tensors overlap", header(lambda raw: raw[SINKS].update(data_offsets=[0, 12])), "overlaps",
        tensor="model."),
    Bad("data that no tensor claims", header(lambda raw: raw.pop(SINKS)), "follows a gap",
        tensor="model."),
    # the set of tensors
    Bad("tensor missing", tensors(lambda state: state.pop(SINKS)), "is missing", file="it",
        tensor=SINKS),
    Bad("unknown tensor", tensors(lambda state: state.update({"model.extra": torch.ones(1)})),
        "no tensor of this model", tensor="model.extra"),
    Bad("misshaped tensor", tensors(lambda state: state.update({SINKS: state[SINKS][:5]})),
        r"has shape \[5\], config.json implies \[6\]", tensor=SINKS),
    Bad("transposed tensor",
        tensors(lambda state: state.update({"lm_head.weight": state["lm_head.weight"].T.contiguous()})),
        "has shape", tensor="lm_head.weight"),
    Bad("blocks as floats", tensors(lambda state: state.update({
            name: state[name].float() for name in state if name.endswith("_blocks")})),
        "under the name of MXFP4 blocks", tensor="_blocks"),
    Bad("floats as bytes",
        tensors(lambda state: state.update({SINKS: state[SINKS].to(torch.uint8)})),
        "has dtype U8, expected BF16", tensor=SINKS),
    Bad("scales as floats",
        tensors(lambda state: state.update(
            {BLOCKS.replace("blocks", "scales"): torch.ones(4, 64, 1)})),
        "has dtype F32, expected U8", tensor="down_proj_scales"),
    Bad("float32 in the original layout",
        tensors(lambda state: state.update({"norm.scale": state["norm.scale"].float()})),
        "has dtype F32, expected BF16", tensor="norm.scale", layout="original"),
    Bad("another model's tensors",
        tensors(lambda state: (state.clear(), state.update({"wte.weight": torch.ones(1)}))),
        "no tensors of gpt-oss", file="it"),
    Bad("both layouts in one file", tensors(lambda state: state.update({"norm.scale": torch.ones(1)})),
        "mixes", file="it"),
    Bad("both expert formats in one file",
        tensors(lambda state: state.update(
            {"model.layers.1.mlp.experts.down_proj": torch.ones(4, 32, 64)})),
        "one format", tensor="model.layers.1.mlp.experts.down_proj"),
    Bad("one tensor in two files", extra_tensor, "is in model.safetensors too",
        file="more.safetensors", tensor=SINKS),
    # the index
    Bad("index of a missing shard", lambda folder: first_shard(folder).unlink(), "is not there",
        file=INDEX, tensor="model.", **SHARDED),
    Bad("index is no JSON", content(INDEX, b"{"), "no valid JSON", file=INDEX, **SHARDED),
    Bad("index without a map", index(lambda raw: raw.pop("weight_map")), "no weight_map", file=INDEX,
        **SHARDED),
    Bad("index that leads out of the folder",
        index(lambda raw: raw["weight_map"].update({SINKS: "../model.safetensors"})),
        "no weight_map", file=INDEX, **SHARDED),
    Bad("index names the wrong shard",
        index(lambda raw: raw["weight_map"].update(
            {SINKS: raw["weight_map"]["model.embed_tokens.weight"]})),
        "where the index puts it", file=INDEX, tensor=SINKS, **SHARDED),
    Bad("index forgets a tensor", index(lambda raw: raw["weight_map"].pop(SINKS)),
        "not in the index", file=INDEX, tensor=SINKS, **SHARDED),
    Bad("a file that the index does not name", extra_tensor, "does not name more.safetensors",
        file=INDEX, **SHARDED),
    Bad("two index files", content("other.safetensors.index.json", b"{}"), "keep the one",
        file="it", **SHARDED),
    Bad("a shard is a git lfs pointer",
        lambda folder: first_shard(folder).write_bytes(LFS_POINTER), "git lfs pull",
        file="model-00001-of", **SHARDED),
    # the config
    Bad("no config", lambda folder: (folder / CONFIG).unlink(), "is missing", ConfigError, CONFIG),
    Bad("config is no JSON", content(CONFIG, b"{"), "no valid JSON", ConfigError, CONFIG),
    Bad("config is no UTF-8", content(CONFIG, b"\xff\xfe"), "no valid JSON", ConfigError, CONFIG),
    Bad("config is a list", content(CONFIG, b"[]"), "no JSON object", ConfigError, CONFIG),
    Bad("config is a git lfs pointer", content(CONFIG, LFS_POINTER), "no valid JSON", ConfigError,
        CONFIG),
    Bad("config of another model", config(model_type="llama"), "llama", ConfigError, CONFIG),
    Bad("config of no model", content(CONFIG, b"{}"), "num_hidden_layers is missing", ConfigError,
        CONFIG),
    Bad("config without experts", config(num_local_experts=...), "num_local_experts", ConfigError,
        CONFIG),
    Bad("config with two numbers of experts", config(num_experts=3), "contradict", ConfigError,
        CONFIG),
    Bad("config with a wrong type", config(hidden_size="64"), "hidden_size", ConfigError, CONFIG),
    Bad("config with an infinite number", config(rope_theta=float("inf")), "rope_theta is inf",
        ConfigError, CONFIG),
    Bad("config with a wrong type inside", config(rope_scaling={"factor": "32"}),
        "rope_scaling.factor is '32'; expected a number", ConfigError, CONFIG),
    Bad("config without an end", config(eos_token_id=[]), "eos_token_id", ConfigError, CONFIG),
    Bad("config with a null for the vocabulary", config(vocab_size=None), "config.json implies",
        tensor="model.embed_tokens.weight"),
    Bad("original config with a null", config(hidden_size=None), "hidden_size is None", ConfigError,
        CONFIG, layout="original"),
    Bad("config with more layers than types", config(num_hidden_layers=3), "layer_types",
        ConfigError, CONFIG),
    Bad("config with another quantization", config(quantization_config={"quant_method": "gptq"}),
        "gptq", ConfigError, CONFIG),
    Bad("config with heads that do not divide", config(num_attention_heads=7), "num_attention_heads",
        ConfigError, CONFIG),
    # config against weights
    Bad("fewer layers than the weights",
        config(num_hidden_layers=1, layer_types=["sliding_attention"]), "no tensor of this model",
        tensor="model.layers.1."),
    Bad("more layers than the weights", config(num_hidden_layers=3, layer_types=...), "is missing",
        file="it", tensor="model.layers.2."),
    Bad("fewer experts than the weights", config(num_local_experts=3), "config.json implies",
        tensor="mlp."),
    Bad("biases that the config denies", config(attention_bias=False), "no tensor of this model",
        tensor="_proj.bias"),
    Bad("mxfp4 config, dense weights",
        config(quantization_config={"quant_method": "mxfp4"}), "says mxfp4",
        tensor="mlp.experts.", config=DENSE),
    Bad("dense config, mxfp4 weights", config(quantization_config=...), "no quantization_config",
        tensor="_blocks"),
    Bad("original config of another shape", config(num_experts=5), "config.json implies",
        tensor="block.", layout="original"),
    Bad("original layout without a tensor",
        tensors(lambda state: state.pop("block.1.attn.qkv.bias")), "is missing", file="it",
        tensor="block.1.attn.qkv.bias", layout="original"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """File contents of one folder of each layout."""
    folder = tmp_path_factory.mktemp("sound")
    return {
        layout: {
            path.name: path.read_bytes()
            for path in write_tiny(folder / layout, layout=layout).iterdir()
        }
        for layout in ("hf", "original")
    }


def opens_or_complains(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    message = str(folder)
    try:
        open_checkpoint(folder).close()
    except (CheckpointError, ConfigError) as error:
        message = str(error)
    assert str(folder) in message
    assert len(message.splitlines()) == 1


@settings(max_examples=150)
@given(
    layout=st.sampled_from(["hf", "original"]),
    edits=st.lists(st.tuples(st.integers(0, 6000), st.binary(max_size=6)), min_size=1, max_size=3),
    keep=st.sampled_from([1.0, 1.0, 0.5, 0.01]),
)
def test_any_damage_to_a_header_is_a_complaint_at_worst(
    sound, layout, edits, keep, tmp_path_factory
):
    data = bytearray(sound[layout][WEIGHTS])
    for place, piece in edits:
        data[place : place + len(piece)] = piece
    files = sound[layout] | {WEIGHTS: bytes(data[: int(len(data) * keep)])}
    opens_or_complains(tmp_path_factory.mktemp("damaged") / "it", files)


def _or_within(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(values, max_size=3)
    return values | lists | st.dictionaries(st.text(max_size=5), values, max_size=3)


json_values = _or_within(
    _or_within(st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=5))
)


@settings(max_examples=300)
@given(data=st.data(), layout=st.sampled_from(["hf", "original"]), value=json_values)
def test_any_value_in_a_config_is_a_complaint_at_worst(
    sound, data, layout, value, tmp_path_factory
):
    raw = json.loads(sound[layout][CONFIG])
    target = raw
    if "rope_scaling" in raw and data.draw(st.booleans()):
        target = raw["rope_scaling"]
    target[data.draw(st.sampled_from(sorted(target)))] = value
    files = sound[layout] | {CONFIG: json.dumps(raw).encode()}
    opens_or_complains(tmp_path_factory.mktemp("damaged") / "it", files)


def test_names_are_unique():
    assert len({bad.name for bad in BAD}) == len(BAD)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name.replace(" ", "-"))
def test_one_line_that_names_the_fault(bad, tmp_path):
    folder = tmp_path / "it"
    write_tiny(
        folder,
        tiny_config(**(bad.config or {})),
        bad.layout,
        max_shard_bytes=bad.max_shard_bytes,
    )
    open_checkpoint(folder)
    bad.damage(folder)
    with pytest.raises(OssiaError, match=bad.says) as caught:
        open_checkpoint(folder)
    assert type(caught.value) is bad.error
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    place = message.split(": ")[0]
    assert place.startswith(str(folder))
    assert bad.file is None or bad.file in place
    if bad.tensor is not None:
        assert bad.tensor in message.split(": ")[1]
        assert bad.tensor in caught.value.tensor

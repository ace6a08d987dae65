"""save_pretrained: what is written is all that was there, for us and for transformers."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from ossia import (
    GptOssForCausalLM,
    GptOssForSequenceClassification,
    GptOssForTokenClassification,
    GptOssModel,
    Mxfp4Config,
)
from ossia.errors import CheckpointError, RequestError
from support.twins import lively, small_settings

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]])
CLASSES = (
    GptOssModel,
    GptOssForCausalLM,
    GptOssForSequenceClassification,
    GptOssForTokenClassification,
)
# Here transformers writes no MXFP4; tests/checkpoint/test_transformers_exchange.py makes up for it.
FORMATS = ("dense", "mxfp4")


def _result(model):
    output = model(IDS)
    return output.last_hidden_state if hasattr(output, "last_hidden_state") else output.logits


def _new(kind, expert_format="dense", **changes):
    return lively(kind(small_settings(expert_format=expert_format, num_labels=3, **changes)), 7)


def _theirs(kind, folder):
    """Read with transformers, insisting that every tensor found its place."""
    options = {"output_loading_info": True, "dtype": torch.float32}
    raw = json.loads((folder / "config.json").read_text())
    if "quantization_config" in raw:
        options["quantization_config"] = transformers.Mxfp4Config(dequantize=True)
    model, report = getattr(transformers, kind.__name__).from_pretrained(folder, **options)
    assert not any(report.values()), report
    return model.float().eval()  # transformers 4.57 expands to bfloat16 whatever is asked


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("expert_format", FORMATS)
def test_we_and_transformers_read_what_we_write(tmp_path, kind, expert_format):
    model = _new(kind, expert_format)
    model.save_pretrained(save_directory=tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert torch.equal(_result(again), _result(model))
    theirs = _theirs(kind, tmp_path)
    assert theirs.config.num_labels == 3
    assert (_result(theirs) - _result(model)).abs().max() <= 2e-4


@pytest.mark.parametrize("kind", CLASSES)
def test_we_read_what_transformers_writes(tmp_path, kind):
    theirs = getattr(transformers, kind.__name__)(
        transformers.GptOssConfig(**small_settings(num_labels=3).to_dict())
    ).eval()
    for param in theirs.parameters():
        torch.nn.init.normal_(param, std=0.2)
    theirs.save_pretrained(tmp_path)
    ours, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert ours.config.num_labels == 3
    assert (_result(theirs) - _result(ours)).abs().max() <= 2e-4


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("expert_format", FORMATS)
def test_bfloat16_files_mean_the_same_to_both(tmp_path, kind, expert_format):
    """Read as float32, in which the sums are taken the same way."""
    _new(kind, expert_format).to(torch.bfloat16).save_pretrained(tmp_path / "ours")
    ours = kind.from_pretrained(tmp_path / "ours", dtype="float32")
    theirs = _theirs(kind, tmp_path / "ours")
    assert (_result(theirs) - _result(ours)).abs().max() <= 2e-4
    if expert_format == "dense":
        theirs.to(torch.bfloat16).save_pretrained(tmp_path / "theirs")
        again = kind.from_pretrained(tmp_path / "theirs")
        assert {param.dtype for param in again.parameters()} == {torch.bfloat16}
        assert torch.equal(_result(again.float()), _result(ours))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes_are_kept(tmp_path, dtype):
    model = _new(GptOssForCausalLM, "mxfp4").to(dtype)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype)[6:]
    again = GptOssForCausalLM.from_pretrained(tmp_path)
    assert again.dtype == dtype
    assert again.model.layers[0].mlp.experts.gate_up_proj_blocks.dtype == torch.uint8
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_a_dequantised_model_is_saved_dense(tmp_path):
    """transformers 5.23 loses the experts here."""
    packed = _new(GptOssForCausalLM, "mxfp4")
    packed.save_pretrained(tmp_path / "packed")
    dense = GptOssForCausalLM.from_pretrained(
        tmp_path / "packed", quantization_config=Mxfp4Config(dequantize=True)
    )
    dense.save_pretrained(tmp_path / "dense")
    assert "quantization_config" not in json.loads((tmp_path / "dense/config.json").read_text())
    again = GptOssForCausalLM.from_pretrained(tmp_path / "dense")
    experts = packed.model.layers[1].mlp.experts
    expected = convert_moe_packed_tensors(
        experts.down_proj_blocks.data, experts.down_proj_scales.data, dtype=torch.float32
    )
    assert torch.equal(again.model.layers[1].mlp.experts.down_proj, expected)
    assert (
        _theirs(GptOssForCausalLM, tmp_path / "dense")(IDS).logits - again(IDS).logits
    ).abs().max() <= 2e-4


def test_the_config_is_kept_whole(tmp_path):
    model = _new(
        GptOssForTokenClassification, eos_token_id=[3, 5], pad_token_id=0, router_aux_loss_coef=0.5
    )
    model.config.update({"id2label": {0: "a", 1: "b", 2: "c"}, "note": "mine"})
    model.config.label2id = {"a": 0, "b": 1, "c": 2}
    model.save_pretrained(tmp_path)
    config = GptOssForTokenClassification.from_pretrained(tmp_path).config
    assert config.id2label == {0: "a", 1: "b", 2: "c"}
    assert config.eos_token_id == [3, 5]
    assert config.router_aux_loss_coef == 0.5
    assert config.note == "mine"
    assert config.architectures == ["GptOssForTokenClassification"]


@pytest.mark.parametrize("size", ["60KB", 60_000])
def test_files_are_split(tmp_path, size):
    model = _new(GptOssForCausalLM)
    model.save_pretrained(tmp_path, max_shard_size=size)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert torch.equal(GptOssForCausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)
    model.save_pretrained(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "model.safetensors"]
    assert torch.equal(GptOssForCausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)


def test_a_model_can_be_saved_over_the_files_that_it_views(tmp_path):
    _new(GptOssForCausalLM).save_pretrained(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    model = GptOssForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    expected = model(IDS).logits
    model.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert torch.equal(GptOssForCausalLM.from_pretrained(tmp_path)(IDS).logits, expected)


def test_another_state_dict_is_written(tmp_path):
    model = _new(GptOssForCausalLM)
    other = {name: 2 * tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=other)
    again = GptOssForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again.lm_head.weight, 2 * model.lm_head.weight)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_what_would_not_load_is_not_written(tmp_path, change):
    model = _new(GptOssForCausalLM)
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    state = dict(model.state_dict())
    if change == "missing":
        del state["model.norm.weight"]
    else:
        state["extra" if change == "extra" else "model.norm.weight"] = torch.ones(2)
    with pytest.raises(CheckpointError, match=r"extra|norm"):
        model.save_pretrained(tmp_path, state_dict=state)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_the_main_process_writes(tmp_path):
    _new(GptOssForCausalLM).save_pretrained(tmp_path / "it", is_main_process=False)
    assert not (tmp_path / "it").exists()


def test_what_asks_for_nothing_is_no_error(tmp_path):
    _new(GptOssForCausalLM).save_pretrained(
        tmp_path / "it", safe_serialization=True, push_to_hub=False, save_original_format=True
    )
    assert (tmp_path / "it" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["safe_serialization", "max_shard_sise", "max_shard_size"])
def test_what_cannot_be_met_is_refused(tmp_path, name):
    value = False if name == "safe_serialization" else "x"
    with pytest.raises(RequestError) as raised:
        _new(GptOssForCausalLM).save_pretrained(tmp_path / "it", **{name: value})
    assert raised.value.field == name
    assert not (tmp_path / "it").exists()


def test_nothing_is_pushed():
    with pytest.raises(RequestError, match="hf upload"):
        _new(GptOssForCausalLM).push_to_hub("me/mine")


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "it").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        _new(GptOssForCausalLM).save_pretrained(tmp_path / "it")


def test_generation_settings_travel(tmp_path):
    model = _new(GptOssForCausalLM, eos_token_id=3, pad_token_id=0)
    assert model.generation_config.eos_token_id == 3
    model.generation_config.temperature, model.generation_config.do_sample = 0.5, True
    model.generation_config.eos_token_id = [3, 5]
    model.save_pretrained(tmp_path)
    for again in (
        GptOssForCausalLM.from_pretrained(tmp_path),
        _theirs(GptOssForCausalLM, tmp_path),
    ):
        assert again.generation_config.temperature == 0.5
        assert again.generation_config.do_sample is True
        assert again.generation_config.eos_token_id == [3, 5]
    _new(GptOssForSequenceClassification).save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other/generation_config.json").exists()

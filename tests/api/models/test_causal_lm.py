"""GptOssForCausalLM: padded batches against transformers, loading, and gradients."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.api.models.causal_lm import GptOssForCausalLM
from ossia.checkpoint.safetensors_file import SafetensorsFile
from ossia.checkpoint.writer import write_checkpoint
from ossia.errors import RequestError
from support.models import (
    assume_clear_routing,
    model_configs,
    small_config,
    small_model,
    transformers_twin,
)

TOLERANCE = 2e-4


def _facade(model: torch.nn.Module) -> GptOssForCausalLM:
    facade = GptOssForCausalLM(model.config)
    facade.load_state_dict(model.state_dict())
    return facade.eval()


def _masks(draw_batch: int, draw_seq: int) -> st.SearchStrategy[list[list[int]]]:
    row = st.lists(st.integers(0, 1), min_size=draw_seq, max_size=draw_seq)
    return st.lists(row, min_size=draw_batch, max_size=draw_batch)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), config=model_configs(), batch=st.integers(1, 3), seq=st.integers(1, 40))
def test_logits_under_any_mask_match_transformers(data, config, batch, seq):
    model = small_model(data.draw(st.integers(0, 999)), **_shape(config))
    twin = transformers_twin(model)
    ids = torch.randint(0, config.vocab_size, (batch, seq))
    mask = torch.tensor(data.draw(_masks(batch, seq)))
    with torch.inference_mode():
        expected = twin(input_ids=ids, attention_mask=mask).logits
        ours = _facade(model)(ids, mask, output_router_logits=True)
    assume_clear_routing(ours.router_logits, config.experts_per_token)
    logits = ours.logits
    kept = mask.bool()
    assert logits.shape == expected.shape
    if kept.any():
        assert (logits[kept] - expected[kept]).abs().max() <= TOLERANCE
    assert not logits[~kept].any()


def _shape(config) -> dict[str, object]:
    return {name: getattr(config, name) for name in type(config).__dataclass_fields__}


@pytest.mark.parametrize("expert_format", ["dense", "mxfp4"])
def test_state_dict_has_the_names_of_transformers(expert_format):
    model = GptOssForCausalLM(small_config(expert_format=expert_format))
    names = set(model.state_dict())
    if expert_format == "dense":
        assert names == set(transformers_twin(small_model()).state_dict())
    else:
        assert "model.layers.0.mlp.experts.gate_up_proj_blocks" in names


def test_output_is_a_mapping_and_has_attributes():
    output = _facade(small_model())(torch.tensor([[1, 2, 3]]))
    assert output["logits"] is output.logits
    assert dict(output).keys() == {"logits", "past_key_values"}
    assert output[0] is output.logits
    assert output.loss is None
    with pytest.raises(KeyError):
        output["loss"]


def test_positions_shift_rope_only_relatively():
    model = _facade(small_model()).double()
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = model(ids).logits
    shifted = model(ids, position_ids=torch.arange(100, 104)[None]).logits
    assert torch.allclose(plain, shifted, atol=1e-4)
    stretched = model(ids, position_ids=torch.tensor([[0, 3, 6, 9]])).logits
    assert not torch.allclose(plain, stretched, atol=1e-2)


def test_rows_of_padding_only_give_zeros():
    model = _facade(small_model())
    ids = torch.tensor([[1, 2], [3, 4]])
    some = model(ids, torch.tensor([[0, 0], [1, 1]])).logits
    assert not some[0].any()
    assert torch.allclose(some[1:], model(ids[1:]).logits, atol=1e-5)
    assert not model(ids, torch.zeros_like(ids)).logits.any()


def test_gradients_reach_every_float_parameter():
    model = _facade(small_model(expert_format="dense"))
    model(torch.randint(0, 97, (2, 30)), torch.ones(2, 30)).logits.square().sum().backward()
    idle = [name for name, param in model.named_parameters() if param.grad is None]
    assert idle == []


def test_gradients_pass_through_packed_experts():
    model = _facade(small_model(expert_format="mxfp4"))
    model(torch.randint(0, 97, (1, 8))).logits.square().sum().backward()
    assert model.model.embed_tokens.weight.grad.abs().sum() > 0
    assert model.model.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.tensor([1, 2])}, "input_ids: expected integers"),
        ({"input_ids": torch.tensor([[0.5]])}, "input_ids: expected integers"),
        ({"input_ids": torch.tensor([[97]])}, "from 0 to 96"),
        ({"input_ids": torch.tensor([[-1]])}, "from 0 to 96"),
        (
            {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 3)},
            "attention_mask: its shape",
        ),
        (
            {"input_ids": torch.tensor([[1, 2]]), "position_ids": torch.ones(2, 2)},
            "position_ids: its shape",
        ),
        ({}, "input_ids: give either"),
        ({"input_ids": torch.tensor([[1]]), "inputs_embeds": torch.ones(1, 1, 64)}, "give either"),
        ({"inputs_embeds": torch.ones(1, 1, 63)}, r"inputs_embeds: expected \(batch, seq, 64\)"),
        ({"input_ids": torch.ones(1, 2).long(), "attention_mask": torch.ones(1, 1, 2, 2)}, "masks"),
        ({"input_ids": torch.ones(1, 2).long(), "past_key_values": ((1,),)}, "DynamicCache"),
        ({"input_ids": torch.ones(1, 2).long(), "cache_position": torch.tensor([1, 2])}, "0 to 1"),
        ({"input_ids": torch.ones(1, 2).long(), "logits_to_keep": -1}, "logits_to_keep"),
        ({"input_ids": torch.ones(1, 2).long(), "labels": torch.ones(1, 3).long()}, "labels"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        _facade(small_model())(**arguments)


def test_ids_at_padding_do_not_matter():
    model = _facade(small_model())
    mask = torch.tensor([[0, 1, 1]])
    padded = model(torch.tensor([[-100, 4, 5]]), mask).logits
    assert torch.equal(padded, model(torch.tensor([[3, 4, 5]]), mask).logits)


def test_unknown_arguments_are_errors():
    model = _facade(small_model())
    with pytest.raises(TypeError, match="use_cahce"):
        model(torch.tensor([[1]]), use_cahce=True)
    with pytest.raises(RequestError, match="dtpye"):
        GptOssForCausalLM.from_pretrained("random:tiny", dtpye="float32")


@pytest.fixture(scope="module", params=["dense", "mxfp4"])
def checkpoint(request, tmp_path_factory):
    model = small_model(expert_format=request.param)
    folder = tmp_path_factory.mktemp("model") / request.param
    state = {name: param.detach() for name, param in model.named_parameters()}
    write_checkpoint(folder, model.config, state)
    return folder, model


def test_from_pretrained_gives_back_what_was_saved(checkpoint):
    folder, model = checkpoint
    loaded = GptOssForCausalLM.from_pretrained(folder)
    assert loaded.config.to_model_config() == model.config
    assert not loaded.training
    for name, param in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], param)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded(ids).logits, _facade(model)(ids).logits)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", torch.float64, "float32"])
def test_any_float_dtype_computes(checkpoint, dtype):
    folder, _ = checkpoint
    model = GptOssForCausalLM.from_pretrained(folder, dtype=dtype)
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    floats = {param.dtype for param in model.parameters() if param.is_floating_point()}
    assert floats == {wanted}
    logits = model(torch.tensor([[1, 2, 3]])).logits
    assert logits.dtype == wanted
    assert logits.isfinite().all()


def test_weights_on_the_cpu_are_views_on_the_file(checkpoint):
    folder, _ = checkpoint
    for dtype in ("auto", None):
        model = GptOssForCausalLM.from_pretrained(folder, dtype=dtype)
        # They lie in memory as in the file.
        entries = SafetensorsFile(folder / "model.safetensors").entries
        starts = {
            param.data_ptr() - entries[name].begin for name, param in model.named_parameters()
        }
        assert len(starts) == 1


def test_loaded_models_are_saved_pickled_and_copied(checkpoint):
    folder, _ = checkpoint
    model = GptOssForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[1, 2, 3]])
    logits = model(ids).logits
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    saved.seek(0)
    restored = GptOssForCausalLM(model.config).to(logits.dtype)
    restored.load_state_dict(torch.load(saved))
    for twin in (restored, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin(ids).logits, logits)
    assert len(pickle.dumps(model)) < 2 * (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("dtype", ["int8", "bf16", torch.int64, torch.float8_e4m3fn])
def test_other_dtypes_are_refused(checkpoint, dtype):
    with pytest.raises(RequestError, match=r"dtype: .* is not one of auto, bfloat16"):
        GptOssForCausalLM.from_pretrained(checkpoint[0], dtype=dtype)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("tpu", "not one of"),
        ("meta", "keeps no numbers on meta"),
        ("cuda:99", "CUDA device|not there"),
    ],
)
def test_absent_devices_are_refused(checkpoint, device, message):
    with pytest.raises(RequestError, match=message):
        GptOssForCausalLM.from_pretrained(checkpoint[0], device=device)

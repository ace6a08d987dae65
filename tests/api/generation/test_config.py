"""GenerationConfig: fields, files and refusals."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from ossia import GenerationConfig
from ossia.api.generation.config import FIELD_NAMES
from ossia.api.generation.field_rules import REFUSED
from ossia.errors import ConfigError, ModelNotFoundError, RequestError

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "max_new_tokens": st.integers(1, 100),
        "temperature": st.floats(0.1, 3),
        "top_k": st.integers(0, 90),
        "top_p": st.floats(0.01, 1),
        "do_sample": st.just(True),
        "eos_token_id": st.lists(st.integers(0, 96), min_size=1, max_size=3),
        "bad_words_ids": st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1, max_size=2),
        "stop_strings": st.lists(st.text(min_size=1), min_size=1, max_size=2),
        "repetition_penalty": st.floats(0.5, 2),
    },
)


@given(SETTINGS)
def test_files_are_read_by_transformers_and_back(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("config")
    config = GenerationConfig(**settings)
    config.save_pretrained(folder)
    assert GenerationConfig.from_pretrained(folder) == config
    theirs = transformers.GenerationConfig.from_pretrained(folder)
    for name, value in settings.items():
        assert getattr(theirs, name) == value
    theirs.save_pretrained(folder)
    again = GenerationConfig.from_pretrained(folder)
    assert again.transformers_version == transformers.__version__
    again.transformers_version = None
    assert again == config


def test_biases_of_id_sequences_survive_a_file(tmp_path):
    GenerationConfig(sequence_bias={(5, 6): -2.0}).save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path).sequence_bias == [[[5, 6], -2.0]]
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert theirs.sequence_bias == [[[5, 6], -2.0]]


def test_every_field_of_transformers_is_there_and_unset():
    theirs = set(transformers.GenerationConfig().to_dict())
    assert theirs - FIELD_NAMES == {"_from_model_config"}
    ours = GenerationConfig()
    assert all(getattr(ours, name) is None for name in FIELD_NAMES)
    assert set(ours.to_dict()) == FIELD_NAMES


def test_real_files_settings():
    raw = {
        "bos_token_id": 199998,
        "do_sample": True,
        "eos_token_id": [200002, 199999, 200012],
        "pad_token_id": 199999,
        "transformers_version": "4.55.0.dev0",
    }
    config = GenerationConfig.from_dict(raw)
    assert config.to_diff_dict() == raw


def test_what_a_file_holds_besides_is_kept_and_given_back(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"top_k": 3, "house_rule": [1]}')
    config = GenerationConfig.from_pretrained(tmp_path, do_sample=True)
    assert config.to_diff_dict() == {"top_k": 3, "house_rule": [1], "do_sample": True}
    config.save_pretrained(tmp_path, "other.json")
    assert json.loads((tmp_path / "other.json").read_text())["house_rule"] == [1]


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"no generation_config\.json"):
        GenerationConfig.from_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(tmp_path)


def test_unused_arguments_are_returned_or_refused():
    config, unused = GenerationConfig.from_dict({}, return_unused_kwargs=True, top_k=2, foo=1)
    assert (config.top_k, unused) == (2, {"foo": 1})
    with pytest.raises(RequestError, match="foo"):
        GenerationConfig.from_dict({}, foo=1)
    assert config.update(top_p=0.5, bar=2) == {"bar": 2}
    assert config.top_p == 0.5


def test_a_refused_update_changes_nothing():
    config = GenerationConfig(top_k=4)
    with pytest.raises(RequestError, match="top_p"):
        config.update(top_k=5, top_p=2.0)
    assert config == GenerationConfig(top_k=4)


def test_settings_with_a_slip_of_the_pen_are_no_attributes():
    with pytest.raises(AttributeError):
        GenerationConfig().topk = 3
    with pytest.raises(TypeError, match="topk"):
        GenerationConfig(topk=3)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_unsupported_fields_are_neutral_or_refused_by_name(name):
    for value in (None, *REFUSED[name].neutral):
        GenerationConfig(**{name: value})
    with pytest.raises(RequestError, match=f"^{name}: .*{REFUSED[name].way_round[:10]}") as caught:
        GenerationConfig(**{name: "something"})
    assert caught.value.field == name


def test_neutral_values_are_those_of_transformers():
    defaults = transformers.GenerationConfig._get_default_generation_params()
    for name, refusal in REFUSED.items():
        assert refusal.lets_pass(defaults.get(name)), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", 2.5),
        ("max_length", True),
        ("temperature", -1),
        ("temperature", float("nan")),
        ("top_p", 1.5),
        ("top_k", -1),
        ("min_p", "much"),
        ("early_stopping", "soon"),
        ("early_stopping", 1),
        ("cache_implementation", "quantized"),
        ("cache_implementation", "offloaded"),
        ("stop_strings", ""),
        ("stop_strings", [3]),
        ("eos_token_id", []),
        ("eos_token_id", [-1]),
        ("eos_token_id", "end"),
        ("pad_token_id", -1),
        ("pad_token_id", [3]),
        ("suppress_tokens", [True]),
        ("num_assistant_tokens_schedule", "guess"),
        ("num_beams", 0),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(RequestError, match=f"^{name}: "):
        GenerationConfig(**{name: value})


def test_settings_that_contradict_each_other():
    with pytest.raises(RequestError, match="num_return_sequences"):
        GenerationConfig(num_beams=2, num_return_sequences=3)
    with pytest.raises(RequestError, match="num_return_sequences"):
        GenerationConfig(do_sample=False, num_return_sequences=3)
    with pytest.raises(RequestError, match="forced_eos_token_id"):
        GenerationConfig(suppress_tokens=[1, 2], forced_eos_token_id=[2])


def test_settings_without_effect_are_not_saved(tmp_path):
    for idle in (
        {"do_sample": False, "temperature": 0.5},
        {"num_beams": 1, "length_penalty": 2.0},
        {"return_dict_in_generate": False, "output_scores": True},
    ):
        config = GenerationConfig(**idle)
        with pytest.raises(RequestError, match="has no effect without"):
            config.save_pretrained(tmp_path)


def test_tensors_as_token_ids():
    config = GenerationConfig(eos_token_id=torch.tensor([4, 5]), pad_token_id=torch.tensor(3))
    assert (config.eos_token_id, config.pad_token_id) == ([4, 5], 3)


def test_from_model_config_takes_the_special_tokens():
    source = transformers.GptOssConfig(num_hidden_layers=1, eos_token_id=7, pad_token_id=8)
    for model_config in (
        source,
        source.to_dict(),
        dataclasses.make_dataclass("C", ["eos_token_id"])(7),
    ):
        assert GenerationConfig.from_model_config(model_config).eos_token_id == 7


def test_configs_can_be_copied_and_compared():
    config = GenerationConfig(top_k=3)
    assert dataclasses.replace(config) == config
    assert config != GenerationConfig(top_k=4)

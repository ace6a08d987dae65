"""ModelConfig: both kinds of config.json, old and new keys, and what it refuses."""

from __future__ import annotations

import pytest
import transformers
from hypothesis import given, settings

from ossia.config import PRESETS, ModelConfig, RopeScaling
from ossia.errors import ConfigError
from support.models import model_configs, small_config
from support.transformers_version import IS_4


def _hf(**changes: object) -> dict[str, object]:
    return PRESETS["20b"]().to_hf() | changes


def _without(raw: dict[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in raw.items() if name not in names}


@pytest.mark.parametrize(("name", "layers", "experts"), [("20b", 24, 32), ("120b", 36, 128)])
def test_presets_have_the_released_shapes(name, layers, experts):
    config = PRESETS[name]()
    assert (config.num_hidden_layers, config.num_experts, config.experts_per_token) == (
        layers,
        experts,
        4,
    )
    assert (config.hidden_size, config.intermediate_size, config.vocab_size) == (2880, 2880, 201088)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (64, 8, 64)
    assert config.layer_types[:3] == ("sliding_attention", "full_attention", "sliding_attention")
    assert [config.window_of(i) for i in (0, 1)] == [128, None]


@settings(max_examples=50, deadline=None)
@given(model_configs())
def test_hugging_face_round_trip(config):
    assert ModelConfig.from_dict(config.to_hf()) == config


@pytest.mark.parametrize("name", ["20b", "120b", "tiny"])
def test_original_round_trip(name):
    config = PRESETS[name]()
    assert ModelConfig.from_dict(config.to_original()) == config


def test_transformers_writes_what_we_read():
    """Its new rope keys (`rope_parameters`) and its spelling of the expert count."""
    raw = transformers.GptOssConfig(num_hidden_layers=3, num_local_experts=5).to_dict()
    assert ("rope_theta" if IS_4 else "rope_parameters") in raw
    config = ModelConfig.from_dict(raw)
    assert (config.num_hidden_layers, config.num_experts) == (3, 5)
    assert config.rope_scaling == RopeScaling()
    assert config.expert_format == "dense"


def test_old_and_new_rope_keys_mean_the_same():
    raw = _hf()
    new = _without(raw, "rope_scaling", "rope_theta")
    new["rope_parameters"] = {**raw["rope_scaling"], "rope_theta": raw["rope_theta"]}
    assert ModelConfig.from_dict(new) == ModelConfig.from_dict(raw)


def test_token_ids_left_out_are_the_released_ones_or_none():
    """transformers 4 leaves out what is None."""
    raw = _without(_hf(), "eos_token_id", "pad_token_id")
    assert ModelConfig.from_dict(raw) == PRESETS["20b"]()
    small = ModelConfig.from_dict(raw | {"vocab_size": 100})
    assert (small.eos_token_id, small.pad_token_id) == (None, None)
    assert ModelConfig.from_dict(raw | {"vocab_size": 100, "pad_token_id": 7}).pad_token_id == 7


@pytest.mark.parametrize("key", ["num_experts", "num_local_experts"])
def test_either_name_of_the_expert_count(key):
    raw = _without(_hf(), "num_experts", "num_local_experts") | {key: 32}
    assert ModelConfig.from_dict(raw) == PRESETS["20b"]()


def test_a_config_silent_on_rope_means_yarn_as_in_transformers():
    raw = _without(_hf(), "rope_scaling", "rope_theta")
    assert ModelConfig.from_dict(raw) == PRESETS["20b"]()


def test_what_the_original_layout_cannot_express_is_refused():
    with pytest.raises(ConfigError, match="write the hf layout"):
        small_config(layer_types=("full_attention",) * 4).to_original()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (_hf(model_type="llama"), "model_type is 'llama'"),
        (_hf(tie_word_embeddings=True), "tie_word_embeddings"),
        (_hf(attention_dropout=0.1), "attention_dropout"),
        (_hf(hidden_act="gelu"), "hidden_act"),
        (_hf(num_experts=16), "contradict each other"),
        (_hf(experts_per_token=2), "contradict each other"),
        (_without(_hf(), "num_local_experts"), "num_local_experts is missing"),
        (_without(_hf(), "num_hidden_layers"), "num_hidden_layers is missing"),
        (_hf(rope_parameters={"rope_type": "yarn", "rope_theta": 1.0}), "contradict each other"),
        (_hf(rope_scaling={"rope_type": "linear", "factor": 2.0}), "rope_type is 'linear'"),
        (_hf(rope_scaling={"rope_type": "yarn", "attention_factor": 2.0}), "attention_factor"),
        (_hf(quantization_config={"quant_method": "gptq"}), "quant_method is 'gptq'"),
        (_hf(hidden_size="2880"), "expected an integer"),
        (_hf(hidden_size=True), "expected an integer"),
        (_hf(rms_norm_eps="small"), "expected a number"),
        (_hf(hidden_size=0), "must be positive"),
        (_hf(hidden_size=2890), "no multiple of 32"),
        (_hf(num_key_value_heads=7), "no multiple of num_key_value_heads=7"),
        (_hf(head_dim=63), "even number"),
        (_hf(num_experts_per_tok=64, experts_per_token=64), "exceeds num_experts"),
        (_hf(layer_types=["full_attention"]), "layer_types has 1 entries"),
        (_hf(layer_types=["chunked_attention"] * 24), "chunked_attention"),
        (_hf(eos_token_id=999_999), "lies outside vocab_size"),
        ({"num_experts": 4}, "num_hidden_layers is missing"),
        ({"num_hidden_layers": 4}, "num_experts is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictions_are_errors(raw, message):
    with pytest.raises(ConfigError, match=message) as caught:
        ModelConfig.from_dict(raw)
    assert "\n" not in str(caught.value)

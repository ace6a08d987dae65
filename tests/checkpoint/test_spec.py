from dataclasses import replace

import pytest
import torch
import transformers

from ossia.checkpoint.head import LANGUAGE_MODEL, Head
from ossia.checkpoint.spec import TensorKind, tensor_specs
from ossia.config import PRESETS, ModelConfig
from ossia.model.heads import CausalLM


@pytest.mark.parametrize(
    ("preset", "parameters"), [("20b", 20_914_757_184), ("120b", 116_829_156_672)]
)
@pytest.mark.parametrize("expert_format", ["mxfp4", "dense"])
def test_parameters_of_the_released_models(preset, parameters, expert_format):
    config = replace(PRESETS[preset](), expert_format=expert_format)
    assert sum(spec.parameters for spec in tensor_specs(config).values()) == parameters


def test_bytes_of_the_released_models():
    sizes = {
        preset: sum(spec.nbytes for spec in tensor_specs(PRESETS[preset]()).values())
        for preset in ("20b", "120b")
    }
    assert sizes == {"20b": 13_761_264_768, "120b": 65_248_815_744}


def test_shapes_of_the_released_20b():
    specs = tensor_specs(PRESETS["20b"]())
    layer = "model.layers.23."
    expected = {
        "model.embed_tokens.weight": (201_088, 2880),
        f"{layer}self_attn.q_proj.weight": (4096, 2880),
        f"{layer}self_attn.k_proj.bias": (512,),
        f"{layer}self_attn.o_proj.weight": (2880, 4096),
        f"{layer}self_attn.sinks": (64,),
        f"{layer}mlp.router.weight": (32, 2880),
        f"{layer}mlp.experts.gate_up_proj_blocks": (32, 5760, 90, 16),
        f"{layer}mlp.experts.gate_up_proj_scales": (32, 5760, 90),
        f"{layer}mlp.experts.gate_up_proj_bias": (32, 5760),
        f"{layer}mlp.experts.down_proj_blocks": (32, 2880, 90, 16),
        f"{layer}mlp.experts.down_proj_bias": (32, 2880),
    }
    assert {name: specs[name].shape for name in expected} == expected
    assert len(specs) == 3 + 24 * 19


@pytest.mark.parametrize("attention_bias", [True, False])
def test_dense_table_is_transformers_state(attention_bias):
    config = ModelConfig(
        num_hidden_layers=3,
        num_experts=5,
        vocab_size=70,
        hidden_size=24,
        intermediate_size=20,
        head_dim=10,
        num_attention_heads=6,
        num_key_value_heads=3,
        attention_bias=attention_bias,
        eos_token_id=None,
        pad_token_id=None,
        expert_format="dense",
    )
    with torch.device("meta"):
        twin = transformers.GptOssForCausalLM(transformers.GptOssConfig(**config.to_hf()))
    state = {name: tuple(tensor.shape) for name, tensor in twin.state_dict().items()}
    assert {name: spec.shape for name, spec in tensor_specs(config).items()} == state


@pytest.mark.parametrize("expert_format", ["mxfp4", "dense"])
def test_table_is_our_model_state(expert_format):
    config = replace(PRESETS["20b"](), expert_format=expert_format)
    with torch.device("meta"):
        state = CausalLM(config).state_dict()
    table = tensor_specs(config)
    assert {name: spec.shape for name, spec in table.items()} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }


def test_kinds_cover_the_model():
    heads = (LANGUAGE_MODEL, Head("token_classification", 2))
    specs = [spec for head in heads for spec in tensor_specs(PRESETS["tiny"](), head).values()]
    assert {spec.kind for spec in specs} == set(TensorKind)

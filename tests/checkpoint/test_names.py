import pytest
from hypothesis import given

from ossia.checkpoint.names import layout_of, original_name, stored_tensors
from ossia.checkpoint.spec import tensor_specs
from ossia.config import PRESETS
from support.checkpoints import tiny_config, tiny_configs

PAIRS = {
    "model.embed_tokens.weight": "embedding.weight",
    "model.layers.0.input_layernorm.weight": "block.0.attn.norm.scale",
    "model.layers.7.self_attn.q_proj.weight": "block.7.attn.qkv.weight",
    "model.layers.7.self_attn.v_proj.bias": "block.7.attn.qkv.bias",
    "model.layers.12.self_attn.sinks": "block.12.attn.sinks",
    "model.layers.3.self_attn.o_proj.bias": "block.3.attn.out.bias",
    "model.layers.3.post_attention_layernorm.weight": "block.3.mlp.norm.scale",
    "model.layers.3.mlp.router.weight": "block.3.mlp.gate.weight",
    "model.layers.3.mlp.experts.gate_up_proj_blocks": "block.3.mlp.mlp1_weight.blocks",
    "model.layers.3.mlp.experts.gate_up_proj_scales": "block.3.mlp.mlp1_weight.scales",
    "model.layers.3.mlp.experts.gate_up_proj": "block.3.mlp.mlp1_weight",
    "model.layers.3.mlp.experts.gate_up_proj_bias": "block.3.mlp.mlp1_bias",
    "model.layers.3.mlp.experts.down_proj_blocks": "block.3.mlp.mlp2_weight.blocks",
    "model.layers.3.mlp.experts.down_proj": "block.3.mlp.mlp2_weight",
    "model.layers.3.mlp.experts.down_proj_bias": "block.3.mlp.mlp2_bias",
    "model.norm.weight": "norm.scale",
    "lm_head.weight": "unembedding.weight",
}


@pytest.mark.parametrize(("name", "expected"), PAIRS.items())
def test_original_name(name, expected):
    assert original_name(name) == expected
    assert layout_of(name) == "hf"
    assert layout_of(expected) == "original"


def test_strangers_have_no_name_and_no_layout():
    with pytest.raises(KeyError):
        original_name("model.layers.0.self_attn.rotary_emb.inv_freq")
    assert layout_of("base_model.model.lm_head.weight") is None


def test_fused_tensor_of_the_released_models():
    stored = stored_tensors(PRESETS["20b"](), "original")
    qkv = stored["block.0.attn.qkv.weight"]
    assert qkv.shape == (5120, 2880)
    assert [part.shape[0] for part in qkv.parts] == [4096, 512, 512]
    assert len(stored) == 3 + 24 * 15


def test_dense_experts_of_the_original_layout_are_transposed():
    stored = stored_tensors(tiny_config(expert_format="dense"), "original")
    assert stored["block.1.mlp.mlp1_weight"].shape == (4, 64, 64)
    assert stored["block.1.mlp.mlp2_weight"].shape == (4, 64, 32)
    assert stored["block.1.mlp.mlp2_weight"].parts[0].shape == (4, 32, 64)


def test_original_layout_holds_bfloat16_and_bytes_only():
    stored = stored_tensors(tiny_config(), "original")
    assert {tensor.dtypes for tensor in stored.values()} == {("BF16",), ("U8",)}


@given(config=tiny_configs())
def test_every_canonical_tensor_has_one_place(config):
    for layout in ("hf", "original"):
        stored = stored_tensors(config, layout)
        parts = [part for tensor in stored.values() for part in tensor.parts]
        assert sorted(part.name for part in parts) == sorted(tensor_specs(config))
        assert all(layout_of(name) == layout for name in stored)

"""Small models with lively weights, and the transformers twin to compare with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import transformers
from hypothesis import assume
from hypothesis import strategies as st

from ossia.config import ModelConfig, RopeScaling
from ossia.model.heads import CausalLM

# Its advice on rope factors and the like is not about us.
transformers.logging.set_verbosity_error()


@st.composite
def model_configs(draw: st.DrawFn, expert_format: str = "dense") -> ModelConfig:
    """Configurations of 1-6 layers with every shape knob turned independently."""
    num_experts = draw(st.integers(2, 16))
    kv_heads = draw(st.integers(1, 3))
    yarn = st.builds(
        RopeScaling,
        factor=st.sampled_from([4.0, 32.0]),
        original_max_position_embeddings=st.sampled_from([16, 64, 4096]),
        truncate=st.booleans(),
    )
    unit = 32 if expert_format == "mxfp4" else 8
    return ModelConfig(
        num_hidden_layers=draw(st.integers(1, 6)),
        num_experts=num_experts,
        experts_per_token=draw(st.integers(1, min(4, num_experts))),
        vocab_size=draw(st.integers(11, 200)),
        hidden_size=unit * draw(st.integers(1, 4)),
        intermediate_size=unit * draw(st.integers(1, 4)),
        head_dim=draw(st.sampled_from([8, 16, 32, 64])),
        num_attention_heads=kv_heads * draw(st.integers(1, 4)),
        num_key_value_heads=kv_heads,
        sliding_window=draw(st.integers(4, 128)),
        rope_theta=draw(st.sampled_from([10_000.0, 150_000.0])),
        rope_scaling=draw(st.one_of(st.just(RopeScaling(factor=1.0)), yarn)),
        attention_bias=draw(st.booleans()),
        eos_token_id=None,
        pad_token_id=None,
        expert_format=expert_format,
    )


def lively_(model: torch.nn.Module, seed: int) -> None:
    """Fill parameters so that activations stay near one and no term of the model is idle."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, param in sorted(model.named_parameters()):
            if param.dtype == torch.uint8:
                is_scale = name.endswith("_scales")
                low, high = (120, 126) if is_scale else (0, 256)
                param.copy_(torch.randint(low, high, param.shape, generator=generator))
                continue
            values = torch.randn(param.shape, generator=generator, dtype=torch.float32)
            if name.endswith("norm.weight"):
                values = 1.0 + 0.1 * values
            elif param.dim() >= 2 and "embed" not in name and not name.endswith("bias"):
                fan_in = param.shape[-2] if param.dim() == 3 else param.shape[-1]
                values = values * fan_in**-0.5
            elif name.endswith("bias"):
                values = 0.1 * values
            param.copy_(values)


def assume_clear_routing(router_logits: Iterable[torch.Tensor], top_k: int) -> None:
    """Drop an example in which rounding may choose another expert, rightly and with a great effect.

    Args:
        router_logits: For each layer (tokens, experts); rows of zeros are padding.
        top_k: Experts a token.
    """
    for logits in router_logits:
        tokens = logits[logits.any(dim=1)]
        if logits.shape[1] > top_k and len(tokens):
            best = tokens.topk(top_k + 1).values
            assume(bool((best[:, -2] - best[:, -1]).min() > 1e-5))


def small_config(**changes: object) -> ModelConfig:
    """One ordinary small configuration: 4 layers, 8 experts, window 8."""
    shape: dict[str, object] = {
        "num_hidden_layers": 4,
        "num_experts": 8,
        "experts_per_token": 2,
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 32,
        "head_dim": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "sliding_window": 8,
        "eos_token_id": None,
        "pad_token_id": None,
        "expert_format": "dense",
    }
    return ModelConfig(**(shape | changes))  # type: ignore[arg-type]


def small_model(seed: int = 0, **changes: object) -> CausalLM:
    """A CausalLM of `small_config` with lively weights."""
    model = CausalLM(small_config(**changes))
    lively_(model, seed)
    return model


def transformers_twin(model: CausalLM) -> transformers.GptOssForCausalLM:
    """The same weights in transformers' implementation (experts dequantised by its own code)."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    raw = model.config.to_hf()
    raw.pop("quantization_config", None)
    twin = transformers.GptOssForCausalLM(transformers.GptOssConfig(**raw)).eval()
    state = dict(model.state_dict())
    for name in [name for name in state if name.endswith("_blocks")]:
        stem = name.removesuffix("_blocks")
        blocks, scales = state.pop(name), state.pop(f"{stem}_scales")
        state[stem] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    twin.load_state_dict(state)
    return twin


def packed_model(config: ModelConfig, device: str) -> CausalLM:
    """In bfloat16 with packed experts, on a device; random weights that all have work to do."""
    model = CausalLM(config).bfloat16()
    for name, param in model.named_parameters():
        if name.endswith("_scales"):
            param.data = torch.randint(118, 124, param.shape, dtype=torch.uint8)
        elif name.endswith("_blocks"):
            param.data = torch.randint(0, 256, param.shape, dtype=torch.uint8)
        elif param.ndim == 1 or "bias" in name:
            param.data.normal_(1 if "norm" in name else 0, 0.1)
        else:
            param.data.normal_(0, 0.05)
    return model.to(device).eval().requires_grad_(requires_grad=False)


def exact_twin(model: CausalLM) -> CausalLM:
    """The same weights in float32, on a GPU."""
    exact = CausalLM(model.config).cuda().eval().requires_grad_(requires_grad=False)
    exact.load_state_dict(model.state_dict())
    return exact

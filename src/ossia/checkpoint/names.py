"""What either layout calls the tensors, and how its tensors are made of canonical ones.

The Hugging Face layout stores the canonical tensors as they are. The `original` layout has names
of its own, keeps q, k and v as the rows of one tensor, and stores dense experts as (experts, out,
in) where the canonical ones are (experts, in, out).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ossia.checkpoint.head import LANGUAGE_MODEL, Head
from ossia.checkpoint.spec import TensorSpec, tensor_specs
from ossia.config import ModelConfig

Layout = Literal["hf", "original"]

_OUTER = {
    "model.embed_tokens.weight": "embedding.weight",
    "model.norm.weight": "norm.scale",
    "lm_head.weight": "unembedding.weight",
}
_IN_LAYER = {
    "input_layernorm.weight": "attn.norm.scale",
    "self_attn.q_proj.weight": "attn.qkv.weight",
    "self_attn.k_proj.weight": "attn.qkv.weight",
    "self_attn.v_proj.weight": "attn.qkv.weight",
    "self_attn.q_proj.bias": "attn.qkv.bias",
    "self_attn.k_proj.bias": "attn.qkv.bias",
    "self_attn.v_proj.bias": "attn.qkv.bias",
    "self_attn.sinks": "attn.sinks",
    "self_attn.o_proj.weight": "attn.out.weight",
    "self_attn.o_proj.bias": "attn.out.bias",
    "post_attention_layernorm.weight": "mlp.norm.scale",
    "mlp.router.weight": "mlp.gate.weight",
    "mlp.router.bias": "mlp.gate.bias",
    "mlp.experts.gate_up_proj_blocks": "mlp.mlp1_weight.blocks",
    "mlp.experts.gate_up_proj_scales": "mlp.mlp1_weight.scales",
    "mlp.experts.gate_up_proj": "mlp.mlp1_weight",
    "mlp.experts.gate_up_proj_bias": "mlp.mlp1_bias",
    "mlp.experts.down_proj_blocks": "mlp.mlp2_weight.blocks",
    "mlp.experts.down_proj_scales": "mlp.mlp2_weight.scales",
    "mlp.experts.down_proj": "mlp.mlp2_weight",
    "mlp.experts.down_proj_bias": "mlp.mlp2_bias",
}
_DENSE_EXPERTS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file, and the canonical tensors that it consists of.

    Args:
        name: Its name in the file.
        shape: Its shape in the file.
        dtypes: The dtypes it may have.
        parts: Canonical tensors; stacked along the first dimension where there are several.
        transposed: The file has the last two dimensions of the canonical tensor swapped.
    """

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    parts: tuple[TensorSpec, ...]
    transposed: bool = False


def original_name(name: str) -> str:
    """The name in the `original` layout of the tensor that holds a canonical one.

    Raises:
        KeyError: not a canonical name.
    """
    match = _LAYER.fullmatch(name)
    if match is None:
        return _OUTER[name]
    return f"block.{match[1]}.{_IN_LAYER[match[2]]}"


def layout_of(name: str) -> Layout | None:
    """The layout whose names begin as this one does; None if neither's do."""
    if name.startswith(("model.", "lm_head.", "score.")):
        return "hf"
    if name.startswith(("block.", "embedding.", "unembedding.", "norm.")):
        return "original"
    return None


def with_prefix(name: str) -> str:
    """The canonical name of a tensor that was saved by a decoder without a head.

    transformers leaves out "model." there. Other names stay as they are.
    """
    is_bare = name.startswith(("layers.", "embed_tokens.")) or name == "norm.weight"
    return f"model.{name}" if is_bare else name


def stored_tensors(
    config: ModelConfig, layout: Layout, head: Head = LANGUAGE_MODEL
) -> dict[str, StoredTensor]:
    """Every tensor that the files of a layout must hold, by its name there."""
    specs = tensor_specs(config, head).values()
    if layout == "hf":
        return {
            spec.name: StoredTensor(spec.name, spec.shape, spec.dtypes, (spec,)) for spec in specs
        }
    parts: dict[str, list[TensorSpec]] = {}
    for spec in specs:
        parts.setdefault(original_name(spec.name), []).append(spec)
    return {name: _original_tensor(name, tuple(specs)) for name, specs in parts.items()}


def _original_tensor(name: str, parts: tuple[TensorSpec, ...]) -> StoredTensor:
    first = parts[0]
    # The reference implementation reads bfloat16 and bytes only.
    dtypes = tuple(dtype for dtype in first.dtypes if dtype in ("BF16", "U8"))
    rows = sum(part.shape[0] for part in parts)
    shape = (rows, *first.shape[1:])
    transposed = first.name.endswith(_DENSE_EXPERTS)
    if transposed:
        shape = (*shape[:-2], shape[-1], shape[-2])
    return StoredTensor(name, shape, dtypes, parts, transposed)

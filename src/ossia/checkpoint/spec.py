"""The one table of a checkpoint's tensors: canonical name, shape, and the dtypes it may have.

Canonical names are those of the Hugging Face layout. Dtypes are spelled as safetensors spells
them, so that nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ossia.checkpoint.head import LANGUAGE_MODEL, Head
from ossia.config import MXFP4_BLOCK, ModelConfig

FLOATS = ("BF16", "F16", "F32")
BYTES = ("U8",)
ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "U8": 1}

BLOCK_BYTES = MXFP4_BLOCK // 2  # two four-bit values to a byte


class TensorKind(StrEnum):
    """What a tensor is for; sizes are reported by it."""

    EMBEDDING = "embedding"
    ATTENTION = "attention"
    ROUTER = "router"
    EXPERTS = "experts"
    NORM = "norm"
    UNEMBEDDING = "unembedding"
    CLASSIFIER = "classifier"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a checkpoint must hold under one canonical name.

    Args:
        name: Canonical name.
        shape: Exact shape.
        dtypes: The dtypes a file may store it in.
        kind: What it is for.
    """

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    kind: TensorKind

    @property
    def numel(self) -> int:
        """Stored elements; a byte of MXFP4 blocks counts as one."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes it takes in the first of its dtypes."""
        return self.numel * ITEM_BYTES[self.dtypes[0]]

    @property
    def parameters(self) -> int:
        """Weights held: two in a byte of blocks, none in a scale."""
        if self.name.endswith("_blocks"):
            return 2 * self.numel
        return 0 if self.is_scales else self.numel

    @property
    def is_scales(self) -> bool:
        """The scales of MXFP4 blocks."""
        return self.name.endswith("_scales")


def tensor_specs(config: ModelConfig, head: Head = LANGUAGE_MODEL) -> dict[str, TensorSpec]:
    """All tensors of a model by canonical name, in the order in which they are used.

    Args:
        config: The decoder's shape.
        head: What is on top of it.
    """
    hidden, vocab = config.hidden_size, config.vocab_size
    table = [_floats("model.embed_tokens.weight", (vocab, hidden), TensorKind.EMBEDDING)]
    for layer_idx in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer_idx}."
        table.append(_floats(f"{prefix}input_layernorm.weight", (hidden,), TensorKind.NORM))
        table.extend(_attention(config, f"{prefix}self_attn."))
        table.append(
            _floats(f"{prefix}post_attention_layernorm.weight", (hidden,), TensorKind.NORM)
        )
        table.extend(_mixture(config, f"{prefix}mlp."))
    table.append(_floats("model.norm.weight", (hidden,), TensorKind.NORM))
    table.extend(_head(config, head))
    return {spec.name: spec for spec in table}


def _floats(name: str, shape: tuple[int, ...], kind: TensorKind) -> TensorSpec:
    return TensorSpec(name, shape, FLOATS, kind)


def _head(config: ModelConfig, head: Head) -> Iterator[TensorSpec]:
    hidden = config.hidden_size
    if head.kind == "causal_lm":
        yield _floats("lm_head.weight", (config.vocab_size, hidden), TensorKind.UNEMBEDDING)
    elif head.kind != "none":
        yield _floats("score.weight", (head.num_labels, hidden), TensorKind.CLASSIFIER)
        if head.kind == "token_classification":
            yield _floats("score.bias", (head.num_labels,), TensorKind.CLASSIFIER)


def _attention(config: ModelConfig, prefix: str) -> Iterator[TensorSpec]:
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    rows_and_columns = {
        "q_proj": (queries, config.hidden_size),
        "k_proj": (keys, config.hidden_size),
        "v_proj": (keys, config.hidden_size),
        "o_proj": (config.hidden_size, queries),
    }
    for name, (rows, columns) in rows_and_columns.items():
        yield _floats(f"{prefix}{name}.weight", (rows, columns), TensorKind.ATTENTION)
        if config.attention_bias:
            yield _floats(f"{prefix}{name}.bias", (rows,), TensorKind.ATTENTION)
    yield _floats(f"{prefix}sinks", (config.num_attention_heads,), TensorKind.ATTENTION)


def _mixture(config: ModelConfig, prefix: str) -> Iterator[TensorSpec]:
    experts, hidden, ffn = config.num_experts, config.hidden_size, config.intermediate_size
    yield _floats(f"{prefix}router.weight", (experts, hidden), TensorKind.ROUTER)
    yield _floats(f"{prefix}router.bias", (experts,), TensorKind.ROUTER)
    for name, rows, columns in (
        ("gate_up_proj", 2 * ffn, hidden),
        ("down_proj", hidden, ffn),
    ):
        stem = f"{prefix}experts.{name}"
        if config.expert_format == "mxfp4":
            scales = (experts, rows, columns // MXFP4_BLOCK)
            blocks = (*scales, BLOCK_BYTES)
            yield TensorSpec(f"{stem}_blocks", blocks, BYTES, TensorKind.EXPERTS)
            yield TensorSpec(f"{stem}_scales", scales, BYTES, TensorKind.EXPERTS)
        else:
            # Dense experts multiply from the right, x @ W: transposed against the packed rows.
            yield _floats(stem, (experts, columns, rows), TensorKind.EXPERTS)
        yield _floats(f"{stem}_bias", (experts, rows), TensorKind.EXPERTS)

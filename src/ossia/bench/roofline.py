"""Roofline: what a step must read and a prompt must compute, from a model's shape alone."""

from __future__ import annotations

from collections.abc import Collection

from ossia.checkpoint.spec import ITEM_BYTES, TensorKind, TensorSpec, tensor_specs
from ossia.config import ModelConfig

_KV_BYTES = {  # of a stored number, and of a head's row besides
    "float64": (8, 0), "float32": (4, 0), "float16": (2, 0), "bfloat16": (2, 0), "int8": (1, 4),
    "fp8": (1, 0),
}  # fmt: skip
_INT8_BYTES = 1 + 2 / 32  # of a weight: its code, and its part of a group's bfloat16 scale


def expected_distinct(num_experts: int, per_token: int, tokens: float) -> float:
    """Different experts that so many tokens choose of a layer, on average.

    Each token takes `per_token` different ones, all sets alike likely and independent of the other
    tokens'; a given expert is left out by all of them with probability (1 - k/E)^tokens.
    """
    return num_experts * (1 - (1 - per_token / num_experts) ** tokens)


def weight_bytes(
    config: ModelConfig,
    itemsize: int,
    batch: int,
    distinct: float | None = None,
    *,
    int8: bool = False,
    fp8: Collection[str] = (),
) -> float:
    """Bytes of weights that one decode step has to read.

    Everything but the embeddings is read once, whatever the batch: of the experts those that a token
    goes to, of the embeddings the row of each token.

    Args:
        config: Shape.
        itemsize: Bytes of a float; packed experts have bytes of their own.
        batch: Sequences, each with one new token.
        distinct: Experts of a layer that are chosen, on average; None expects what uniform routing
            gives.
        int8: Whether attention's matrices and the unembedding are of 8 bits (model/quantizing.py).
        fp8: Which of them are 8-bit floats with a float32 scale a row (model/fp8_weights.py).
    """
    if distinct is None:
        distinct = expected_distinct(config.num_experts, config.experts_per_token, batch)
    total = float(batch * config.hidden_size * itemsize)
    for spec in tensor_specs(config).values():
        if spec.kind is TensorKind.EXPERTS:
            total += _nbytes(spec, itemsize) / config.num_experts * distinct
        elif int8 and _is_rounded(spec):
            total += spec.numel * _INT8_BYTES
        elif _is_rounded(spec) and spec.kind.value in fp8:
            total += spec.numel + 4 * spec.shape[0]
        elif spec.kind is not TensorKind.EMBEDDING:
            total += _nbytes(spec, itemsize)
    return total


def kv_bytes(
    config: ModelConfig, itemsize: int, batch: int, context: float, kv_dtype: str = "auto"
) -> float:
    """Bytes of keys and values that one decode step has to read.

    Args:
        config: Shape.
        itemsize: Bytes of the model's numbers.
        batch: Sequences.
        context: Tokens of each, the new one included; sliding layers look at their window only.
        kv_dtype: How keys and values are stored, by the engine's names.
    """
    total = 0.0
    for idx in range(config.num_hidden_layers):
        window = config.window_of(idx)
        stays = kv_dtype == "auto" or (kv_dtype == "fp8" and window is not None)
        each, beside = (itemsize, 0) if stays else _KV_BYTES[kv_dtype]
        row = config.head_dim * each + beside
        total += 2 * config.num_key_value_heads * row * min(context, window or context)
    return batch * total


def prefill_flops(config: ModelConfig, batch: int, prompt: int, depth: int = 0) -> float:
    """Multiplications and additions of matrix products for prompts, up to the first token's logits.

    Two for each weight and token (of the experts those a token goes to), the unembedding for the last
    token only, and two products with each key that a query sees.

    Args:
        config: Shape.
        batch: Prompts.
        prompt: Tokens of each.
        depth: Tokens before them that are in the cache already.
    """
    hidden, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    layer = 2 * hidden * heads + 2 * hidden * kv + hidden * config.num_experts
    layer += config.experts_per_token * 3 * hidden * config.intermediate_size
    seen = sum(
        _keys_seen(prompt, depth, config.window_of(idx)) for idx in range(config.num_hidden_layers)
    )
    products = prompt * layer * config.num_hidden_layers + hidden * config.vocab_size
    return 2.0 * batch * (products + 2 * heads * seen)


def launch_bytes(config: ModelConfig, distinct: float) -> dict[str, float]:
    """Bytes of bfloat16 and MXFP4 weights that each launch of a decode step in CUDA reads.

    Args:
        config: Shape.
        distinct: Experts chosen in a layer.

    Returns:
        By the launch's name, for one layer; the unembedding's for the step. "experts" is what
        "gate_up" and "down" are together.
    """
    hidden, ffn = config.hidden_size, config.intermediate_size
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    return {
        "qkv": 2 * hidden * (heads + 2 * kv_heads) * config.head_dim,
        "o": 2 * hidden * heads * config.head_dim,
        "router": 2 * hidden * config.num_experts,
        "experts": distinct * 3 * ffn * hidden * 17 / 32,
        "gate_up": distinct * 2 * ffn * hidden * 17 / 32,
        "down": distinct * ffn * hidden * 17 / 32,
        "unembedding": 2 * hidden * config.vocab_size,
    }


def _nbytes(spec: TensorSpec, itemsize: int) -> int:
    return spec.numel * (ITEM_BYTES["U8"] if "U8" in spec.dtypes else itemsize)


def _is_rounded(spec: TensorSpec) -> bool:
    """Whether 8 bits can be made of it: matrices, not biases and sinks."""
    return spec.kind in (TensorKind.ATTENTION, TensorKind.UNEMBEDDING) and len(spec.shape) == 2


def _keys_seen(prompt: int, depth: int, window: int | None) -> int:
    """By all queries of a prompt, each of which sees itself."""
    if window is None:
        return prompt * depth + prompt * (prompt + 1) // 2
    return sum(min(position + 1, window) for position in range(depth, depth + prompt))

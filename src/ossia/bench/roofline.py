"""Roofline: what a step must read and a prompt must compute, from a model's shape alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from ossia.checkpoint.spec import ITEM_BYTES, TensorKind, TensorSpec, tensor_specs
from ossia.config import ModelConfig

_KV_BYTES = {  # of a stored number, and of a head's row besides
    "float64": (8, 0), "float32": (4, 0), "float16": (2, 0), "bfloat16": (2, 0), "int8": (1, 4),
    "fp8": (1, 0),
}  # fmt: skip
_INT8_BYTES = 1 + 2 / 32  # of a weight: its code, and its part of a group's bfloat16 scale
_Integers = npt.NDArray[np.int64]


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
    unembedding: bool = True,
) -> float:
    """Bytes of weights that one decode step, or another forward pass, has to read.

    Everything but the embeddings is read once, whatever the batch: of the experts those that a token
    goes to, of the embeddings the row of each token.

    Args:
        config: Shape.
        itemsize: Bytes of a float; packed experts have bytes of their own.
        batch: New tokens; of a step one for each sequence.
        distinct: Experts of a layer that are chosen, on average; None expects what uniform routing
            gives.
        int8: Whether attention's matrices and the unembedding are of 8 bits (model/quantizing.py).
        fp8: Which of them are 8-bit floats with a float32 scale a row (model/fp8_weights.py).
        unembedding: Whether any logits are wanted.
    """
    if distinct is None:
        distinct = expected_distinct(config.num_experts, config.experts_per_token, batch)
    total = float(batch * config.hidden_size * itemsize)
    for spec in tensor_specs(config).values():
        if spec.kind is TensorKind.UNEMBEDDING and not unembedding:
            continue
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
    each = sum(
        layers * _kv_row(config, itemsize, window, kv_dtype) * min(context, window or context)
        for window, layers in _windows(config).items()
    )
    return float(batch * each)


def pass_kv_bytes(
    config: ModelConfig,
    itemsize: int,
    counts: Sequence[int],
    before: Sequence[int],
    kv_dtype: str = "auto",
) -> float:
    """Bytes of keys and values that a forward pass has to read: each that a query of it sees, once.

    Args:
        config: Shape.
        itemsize: Bytes of the model's numbers.
        counts: New tokens of each sequence.
        before: Tokens of each that are in the cache already.
        kv_dtype: How keys and values are stored, by the engine's names.
    """
    new, old = _integers(counts), _integers(before)
    total = 0
    for window, layers in _windows(config).items():
        keys = old + new if window is None else np.minimum(old + new, window + new - 1)
        total += layers * _kv_row(config, itemsize, window, kv_dtype) * int(keys.sum())
    return float(total)


def prefill_flops(config: ModelConfig, batch: int, prompt: int, depth: int = 0) -> float:
    """Multiplications and additions of matrix products for prompts, up to the first token's logits.

    Args:
        config: Shape.
        batch: Prompts.
        prompt: Tokens of each.
        depth: Tokens before them that are in the cache already.
    """
    return pass_flops(config, [prompt] * batch, [depth] * batch, batch)


def pass_flops(
    config: ModelConfig, counts: Sequence[int], before: Sequence[int], rows: int
) -> float:
    """Multiplications and additions of the matrix products of a forward pass.

    Two for each weight and token (of the experts those a token goes to), the unembedding for the tokens
    whose logits are wanted only, and two products with each key that a query sees.

    Args:
        config: Shape.
        counts: New tokens of each sequence.
        before: Tokens of each that are in the cache already.
        rows: Of logits.
    """
    hidden, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    layer = 2 * hidden * heads + 2 * hidden * kv + hidden * config.num_experts
    layer += config.experts_per_token * 3 * hidden * config.intermediate_size
    new, old = _integers(counts), _integers(before)
    seen = sum(
        layers * int(_keys_seen(new, old, window).sum())
        for window, layers in _windows(config).items()
    )
    products = sum(counts) * layer * config.num_hidden_layers + rows * hidden * config.vocab_size
    return 2.0 * (products + 2 * heads * seen)


def launch_bytes(
    config: ModelConfig, distinct: float, batch: int, context: int
) -> dict[str, float]:
    """Bytes of bfloat16 and MXFP4 weights, keys and values that each launch of a decode step in CUDA reads.

    Args:
        config: Shape.
        distinct: Experts chosen in a layer.
        batch: Sequences.
        context: Tokens of each, the new one included.

    Returns:
        By the launch's name, for one layer; the unembedding's for the step. "experts" is what
        "gate_up" and "down" are together; "attention" is the mean of full and sliding layers.
    """
    hidden, ffn = config.hidden_size, config.intermediate_size
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    return {
        "qkv": 2 * hidden * (heads + 2 * kv_heads) * config.head_dim,
        "attention": kv_bytes(config, 2, batch, context) / config.num_hidden_layers,
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


def _integers(values: Sequence[int]) -> _Integers:
    return np.asarray(values, dtype=np.int64)


def _windows(config: ModelConfig) -> Counter[int | None]:
    """How many layers have each sliding window, or none."""
    return Counter(config.window_of(idx) for idx in range(config.num_hidden_layers))


def _kv_row(config: ModelConfig, itemsize: int, window: int | None, kv_dtype: str) -> int:
    """Bytes of a token's keys and values in a layer."""
    stays = kv_dtype == "auto" or (kv_dtype == "fp8" and window is not None)
    each, beside = (itemsize, 0) if stays else _KV_BYTES[kv_dtype]
    return 2 * config.num_key_value_heads * (config.head_dim * each + beside)


def _keys_seen(counts: _Integers, before: _Integers, window: int | None) -> _Integers:
    """By all new tokens of each sequence, each of which sees itself."""
    if window is None:
        return counts * before + counts * (counts + 1) // 2
    growing = np.clip(window - before, 0, counts)  # tokens that see all before them
    return growing * before + growing * (growing + 1) // 2 + (counts - growing) * window

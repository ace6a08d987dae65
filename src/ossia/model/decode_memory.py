"""DecodeMemory: the tensors between the kernels of a decode step, in one memory for all sizes of steps.

Only one step runs at a time, so steps of different sizes lie over each other. What must hold between
steps does so for all of them: arrivals are zeros before and after each, or a count that goes on, and
columns that fill rows up are never written, since a row is as long in every size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch

from ossia.config import ModelConfig
from ossia.kernels.decode import FEW_TOKENS, few, num_parts, num_shares, num_slices, split_parts
from ossia.kernels.decode.attention import PagedStep
from ossia.kernels.mxfp4.relaid import whole_units


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTensors:
    """What kernels leave for those behind them, for a number of tokens.

    Args:
        stream: bfloat16 (tokens, hidden), as `middle`: the residual before and behind attention.
        middle: See `stream`.
        normed: bfloat16 (tokens, hidden).
        qkv: float32 (parts, tokens, (heads + 2 kv_heads) * head_dim).
        attended: bfloat16 (tokens, heads * head_dim).
        parts: float32 (parts, tokens, hidden): what the output projection says.
        said: The same of the experts.
        expert_in: bfloat16 (tokens, hidden filled up to whole units).
        inner: bfloat16 (tokens * top_k, ffn filled up to whole units).
        router_logits: float32 (tokens, experts).
        rope: float32 (tokens, 2, head_dim / 2).
        shares: float32, `PagedStep.scratch`.
        attention_arrivals: int32 (tokens, kv_heads), zeros.
        experts_arrivals: int64 (1,), as `few.run_few` says.
        best: int64 (tokens, slices).
        argmax_arrivals: int32 (tokens,), zeros.
        logits: float32 (tokens, vocab).
        drawn: int32 (2, tokens).
    """

    stream: torch.Tensor
    middle: torch.Tensor
    normed: torch.Tensor
    qkv: torch.Tensor
    attended: torch.Tensor
    parts: torch.Tensor
    said: torch.Tensor
    expert_in: torch.Tensor
    inner: torch.Tensor
    router_logits: torch.Tensor
    rope: torch.Tensor
    shares: torch.Tensor
    attention_arrivals: torch.Tensor
    experts_arrivals: torch.Tensor
    best: torch.Tensor
    argmax_arrivals: torch.Tensor
    logits: torch.Tensor
    drawn: torch.Tensor


class DecodeMemory:
    """Room for steps of some sizes.

    Args:
        config: Of the model.
        sizes: Tokens of the steps.
        device: Where they run.
    """

    def __init__(self, config: ModelConfig, sizes: Iterable[int], device: torch.device) -> None:
        self._shapes = {size: _shapes(config, size, device) for size in sizes}
        longest: dict[str, tuple[int, torch.dtype]] = {}
        for shapes in self._shapes.values():
            for name, (dtype, *shape) in shapes.items():
                most, _ = longest.get(name, (0, dtype))
                longest[name] = max(most, prod(shape)), dtype
        self._memory = {
            name: torch.zeros(count, dtype=dtype, device=device)
            for name, (count, dtype) in longest.items()
        }

    def tensors(self, tokens: int) -> StepTensors:
        """For steps of one of the sizes; zeros unless a step has run."""
        return StepTensors(**{
            name: self._memory[name][: prod(shape)].view(shape)
            for name, (_, *shape) in self._shapes[tokens].items()
        })  # fmt: skip


_Shape = tuple[torch.dtype, *tuple[int, ...]]


def _shapes(config: ModelConfig, tokens: int, device: torch.device) -> dict[str, _Shape]:
    """Of each tensor by its name: dtype and lengths."""
    hidden, top_k, head_dim = config.hidden_size, config.experts_per_token, config.head_dim
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    columns, qkv = heads * head_dim, (heads + 2 * kv_heads) * head_dim
    shares = PagedStep.scratch_shape(tokens, kv_heads, num_shares(tokens, kv_heads, device))
    all_at_once = few.fits(tokens, hidden, config.intermediate_size, device)
    said = top_k if all_at_once or tokens > FEW_TOKENS else split_parts(hidden, device)
    floats, halves, integers = torch.float32, torch.bfloat16, torch.int32
    return {
        "stream": (halves, tokens, hidden),
        "middle": (halves, tokens, hidden),
        "normed": (halves, tokens, hidden),
        "qkv": (floats, num_parts(tokens, hidden, qkv, device), tokens, qkv),
        "attended": (halves, tokens, columns),
        "parts": (floats, num_parts(tokens, columns, hidden, device), tokens, hidden),
        "said": (floats, said, tokens, hidden),
        "expert_in": (halves, tokens, whole_units(hidden)),
        "inner": (halves, tokens * top_k, whole_units(config.intermediate_size)),
        "router_logits": (floats, tokens, config.num_experts),
        "rope": (floats, tokens, 2, head_dim // 2),
        "shares": (floats, *shares),
        "attention_arrivals": (integers, tokens, kv_heads),
        "experts_arrivals": (torch.int64, 1),
        "best": (torch.int64, tokens, num_slices(tokens)),
        "argmax_arrivals": (integers, tokens),
        "logits": (floats, tokens, config.vocab_size),
        "drawn": (integers, 2, tokens),
    }

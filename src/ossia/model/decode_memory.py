"""DecodeMemory: the tensors between the kernels of steps and prompts, in one memory for all sizes.

Only one of them runs at a time, so they lie over each other. What must hold between runs does so for
all of them: arrivals are zeros before and after each, or a count that goes on, and columns that fill
rows up are never written, since a row is as long in every size.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod

import torch

from ossia.config import ModelConfig
from ossia.kernels.decode import num_parts, num_shares, num_slices, split_parts
from ossia.kernels.decode.attention import PagedStep
from ossia.kernels.decode.ways import ExpertsWay
from ossia.kernels.decode.wide import operand_places
from ossia.kernels.mxfp4.relaid import whole_units
from ossia.model.heads import CausalLM
from ossia.model.transformer import DecoderLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTensors:
    """What kernels of a layer leave for those behind them, for a number of tokens.

    Args:
        stream: bfloat16 (tokens, hidden), as `middle`: the residual before and behind attention.
        middle: See `stream`.
        normed: bfloat16 (tokens, hidden).
        parts: float32 (parts, tokens, hidden): what the output projection says.
        said: The same of the experts.
        expert_in: bfloat16 (tokens, hidden filled up to whole units).
        inner: bfloat16 (tokens * top_k, ffn filled up to whole units).
        router_logits: float32 (tokens, experts).
        experts_arrivals: int64 (1,), as `run_several` and `run_dozens` say.
        rope: float32 (tokens, 2, head_dim / 2).
    """

    stream: torch.Tensor
    middle: torch.Tensor
    normed: torch.Tensor
    parts: torch.Tensor
    said: torch.Tensor
    expert_in: torch.Tensor
    inner: torch.Tensor
    router_logits: torch.Tensor
    experts_arrivals: torch.Tensor
    rope: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTensors(LayerTensors):
    """What a step of one token a sequence has beside them.

    Args:
        qkv: float32 (parts, tokens, (heads + 2 kv_heads) * head_dim).
        attended: bfloat16 (tokens, heads * head_dim).
        shares: float32, `PagedStep.scratch`.
        attention_arrivals: int32 (tokens, kv_heads), zeros.
        drawn_best: int64 (tokens, slices), and the next two: scratch of `argmax` and `draw`.
        drawn_weights: float64 (tokens, slices).
        drawn_arrivals: int32 (tokens,), zeros.
    """

    qkv: torch.Tensor
    attended: torch.Tensor
    shares: torch.Tensor
    attention_arrivals: torch.Tensor
    drawn_best: torch.Tensor
    drawn_weights: torch.Tensor
    drawn_arrivals: torch.Tensor


class DecodeMemory:
    """Room for steps and passes of some sizes.

    Args:
        config: Of the model.
        steps: Numbers of tokens of the steps.
        device: Where they run.
        passes: Numbers of tokens of the passes, and how many rows of logits each leaves at most.
        evenly: Whether sums over a row of logits are cut in the same way in steps of all sizes.
    """

    def __init__(
        self,
        config: ModelConfig,
        steps: Iterable[int],
        device: torch.device,
        passes: Mapping[int, int] | None = None,
        *,
        evenly: bool = False,
    ) -> None:
        self._device = device
        passes = passes or {}
        self._steps = {
            size: _layer_shapes(config, size, device) | _step_shapes(config, size, device, evenly)
            for size in steps
        }
        self._passes = {size: _layer_shapes(config, size, device) for size in passes}
        longest: dict[str, tuple[int, torch.dtype]] = {}
        for shapes in (*self._steps.values(), *self._passes.values()):
            for name, (dtype, *shape) in shapes.items():
                most, _ = longest.get(name, (0, dtype))
                longest[name] = max(most, prod(shape)), dtype
        self._memory = {
            name: torch.zeros(count, dtype=dtype, device=device)
            for name, (count, dtype) in longest.items()
        }
        # On the host, where kernels write it: no copy stands between a step and the next one.
        self._drawn = torch.zeros(
            2 * 2 * max(self._steps), dtype=torch.int32, pin_memory=device.type == "cuda"
        )
        self._routers: dict[bool, list[torch.Tensor]] = {}
        rows = max([*self._steps, *passes.values()])
        self._logits = torch.zeros(rows, config.vocab_size, dtype=torch.float32, device=device)

    def __del__(self) -> None:
        # A step that nobody waits for may still write to the host's memory, which somebody else gets now.
        if self._device.type == "cuda" and not sys.is_finalizing():
            with suppress(RuntimeError):  # a device that has failed writes nothing more
                torch.cuda.synchronize(self._device)

    def step(self, tokens: int) -> StepTensors:
        """For steps of one of the sizes; zeros unless something has run."""
        return StepTensors(**self._views(self._steps[tokens]))

    def layers(self, tokens: int) -> LayerTensors:
        """For passes of one of the sizes; zeros unless something has run."""
        return LayerTensors(**self._views(self._passes[tokens]))

    def drawn(self, tokens: int) -> torch.Tensor:
        """int32 (2, 2, tokens), as `argmax` says; in pinned memory of the host for a CUDA device."""
        return self._drawn[: 4 * tokens].view(2, 2, tokens)

    def logits(self, rows: int) -> torch.Tensor:
        """float32 (rows, vocab)."""
        assert rows <= len(self._logits), rows
        return self._logits[:rows]

    def routers(self, model: CausalLM, *, in_places: bool) -> list[torch.Tensor]:
        """Each layer's router, bfloat16 (experts, hidden), its columns as `wide.operand_places` has them or in order.

        They are made once, whatever number of chains uses them.
        """
        if in_places not in self._routers:
            places = operand_places(model.config.hidden_size) if in_places else slice(None)
            layers: list[DecoderLayer] = list(model.model.layers)  # pyright: ignore[reportAssignmentType]
            self._routers[in_places] = [
                layer.mlp.router.weight.data[:, places].contiguous() for layer in layers
            ]
        return self._routers[in_places]

    def _views(self, shapes: Mapping[str, _Shape]) -> dict[str, torch.Tensor]:
        return {
            name: self._memory[name][: prod(shape)].view(shape)
            for name, (_, *shape) in shapes.items()
        }


_Shape = tuple[torch.dtype, *tuple[int, ...]]


def _layer_shapes(config: ModelConfig, tokens: int, device: torch.device) -> dict[str, _Shape]:
    """Of each of LayerTensors by its name: dtype and lengths."""
    hidden, top_k, head_dim = config.hidden_size, config.experts_per_token, config.head_dim
    columns = config.num_attention_heads * head_dim
    sizes = hidden, config.intermediate_size
    way = ExpertsWay.choose(tokens, top_k, config.num_experts, sizes, device)
    said = split_parts(hidden, device) if way is ExpertsWay.FEW else top_k
    floats, halves = torch.float32, torch.bfloat16
    return {
        "stream": (halves, tokens, hidden),
        "middle": (halves, tokens, hidden),
        "normed": (halves, tokens, hidden),
        "parts": (floats, num_parts(tokens, columns, hidden, device), tokens, hidden),
        "said": (floats, said, tokens, hidden),
        "expert_in": (halves, tokens, whole_units(hidden)),
        "inner": (halves, tokens * top_k, whole_units(config.intermediate_size)),
        "router_logits": (floats, tokens, config.num_experts),
        "experts_arrivals": (torch.int64, 1),
        "rope": (floats, tokens, 2, head_dim // 2),
    }


def _step_shapes(
    config: ModelConfig, tokens: int, device: torch.device, evenly: bool
) -> dict[str, _Shape]:
    """Of what StepTensors has beside them."""
    head_dim, kv_heads = config.head_dim, config.num_key_value_heads
    heads = config.num_attention_heads
    qkv = (heads + 2 * kv_heads) * head_dim
    shares = PagedStep.scratch_shape(tokens, kv_heads, num_shares(tokens, kv_heads, device))
    slices = num_slices(tokens, evenly=evenly)
    floats, integers = torch.float32, torch.int32
    return {
        "qkv": (floats, num_parts(tokens, config.hidden_size, qkv, device), tokens, qkv),
        "attended": (torch.bfloat16, tokens, heads * head_dim),
        "shares": (floats, *shares),
        "attention_arrivals": (integers, tokens, kv_heads),
        "drawn_best": (torch.int64, tokens, slices),
        "drawn_weights": (torch.float64, tokens, slices),
        "drawn_arrivals": (integers, tokens),
    }

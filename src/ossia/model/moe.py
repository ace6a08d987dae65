"""The mixture of experts: a router, and experts that stay packed or are plain floats."""

from __future__ import annotations

import torch
from torch import nn

from ossia.config import MXFP4_BLOCK, ModelConfig
from ossia.kernels import fp8
from ossia.kernels.cpu import page_out
from ossia.kernels.moe import ExpertWeights, route_and_run
from ossia.kernels.moe.rounded import RoundedExperts, run_rounded
from ossia.kernels.mxfp4 import (
    InterleavedMxfp4,
    Mxfp4Tensor,
    RelaidMxfp4,
    deinterleave,
    interleave,
    relay,
    restore,
)
from ossia.kernels.routing import route
from ossia.model.layers import Linear
from ossia.model.recording import Recording


class Experts(nn.Module):
    """The experts' parameters under their Hugging Face names, in the config's format.

    `relay` and `interleave` change the order of packed ones in place, for kernels that need them so.
    Whoever asks for the state gets the checkpoint's order all the same.

    Attributes:
        rounded: A copy in 8-bit floats, for batches that ask for it (model/fp8_prefill.py). New weights drop it.
    """

    gate_up_proj: nn.Parameter
    gate_up_proj_blocks: nn.Parameter
    gate_up_proj_scales: nn.Parameter
    down_proj: nn.Parameter
    down_proj_blocks: nn.Parameter
    down_proj_scales: nn.Parameter

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.packed = config.expert_format == "mxfp4"
        self.alpha = config.swiglu_alpha
        self.limit = config.swiglu_limit
        self.relaid = False
        self.interleaved = False
        self.rounded: RoundedExperts | None = None
        self._columns = {
            "gate_up_proj": config.hidden_size,
            "down_proj": config.intermediate_size,
        }
        self.register_state_dict_post_hook(_as_in_checkpoints)
        self.register_load_state_dict_pre_hook(_before_loading)
        experts, hidden, ffn = config.num_experts, config.hidden_size, config.intermediate_size
        self.gate_up_proj_bias = nn.Parameter(torch.zeros(experts, 2 * ffn))
        self.down_proj_bias = nn.Parameter(torch.zeros(experts, hidden))
        if self.packed:
            self._add_packed("gate_up_proj", experts, 2 * ffn, hidden)
            self._add_packed("down_proj", experts, hidden, ffn)
        else:
            self.gate_up_proj = nn.Parameter(torch.empty(experts, hidden, 2 * ffn))
            self.down_proj = nn.Parameter(torch.empty(experts, ffn, hidden))
            nn.init.normal_(self.gate_up_proj, std=config.initializer_range)
            nn.init.normal_(self.down_proj, std=config.initializer_range)

    def weights(self, *, int8_activations: bool = False) -> ExpertWeights:
        """The parameters as the expert kernels take them."""
        if self.relaid:
            gate_up, down = self._relaid("gate_up_proj"), self._relaid("down_proj")
        elif self.interleaved:
            gate_up, down = self._interleaved("gate_up_proj"), self._interleaved("down_proj")
        elif self.packed:
            gate_up = Mxfp4Tensor(self.gate_up_proj_blocks, self.gate_up_proj_scales)
            down = Mxfp4Tensor(self.down_proj_blocks, self.down_proj_scales)
        else:
            gate_up, down = self.gate_up_proj, self.down_proj
        return ExpertWeights(
            gate_up=gate_up,
            gate_up_bias=self.gate_up_proj_bias,
            down=down,
            down_bias=self.down_proj_bias,
            alpha=self.alpha,
            limit=self.limit,
            int8_activations=int8_activations,
        )

    def relay(self) -> None:
        """Bring packed experts into the order of the tensor cores, where they are; nothing twice."""
        assert self.packed, "dense experts have no other order"
        if self.relaid:
            return
        self.restore()
        for name in self._columns:
            packed = Mxfp4Tensor(*(param.data for param in self._pair(name)))
            self._replace(name, *relay(packed, paired=name == _PAIRED)[:2])
        self.relaid = True

    def interleave(self) -> None:
        """Bring packed experts into the order of CPUs' vector units; nothing twice."""
        assert self.packed, "dense experts have no other order"
        if self.interleaved:
            return
        self.restore()
        for name in self._columns:
            packed = Mxfp4Tensor(*(param.data for param in self._pair(name)))
            self._replace(name, *interleave(packed, paired=name == _PAIRED)[:2])
            for part in packed:
                page_out(part)
        self.interleaved = True

    def restore(self) -> None:
        """The reverse of `relay` and `interleave`."""
        if self.relaid or self.interleaved:
            for name in self._columns:
                self._replace(name, *self._restored(name))
        self.relaid = self.interleaved = False

    def _restored(self, name: str) -> Mxfp4Tensor:
        return restore(self._relaid(name)) if self.relaid else deinterleave(self._interleaved(name))

    def _interleaved(self, name: str) -> InterleavedMxfp4:
        blocks, scales = self._pair(name)
        return InterleavedMxfp4(blocks.data, scales.data, name == _PAIRED)

    def _relaid(self, name: str) -> RelaidMxfp4:
        blocks, scales = self._pair(name)
        return RelaidMxfp4(blocks.data, scales.data, self._columns[name], name == _PAIRED)

    def _pair(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        return self.get_parameter(f"{name}_blocks"), self.get_parameter(f"{name}_scales")

    def _replace(self, name: str, blocks: torch.Tensor, scales: torch.Tensor) -> None:
        for param, data in zip(self._pair(name), (blocks, scales), strict=True):
            param.data = data

    def _add_packed(self, name: str, experts: int, rows: int, columns: int) -> None:
        scales = (experts, rows, columns // MXFP4_BLOCK)
        blocks = (*scales, MXFP4_BLOCK // 2)
        for suffix, shape in (("blocks", blocks), ("scales", scales)):
            packed = torch.zeros(shape, dtype=torch.uint8)
            self.register_parameter(f"{name}_{suffix}", nn.Parameter(packed, requires_grad=False))


_PAIRED = "gate_up_proj"  # whose even and odd rows, gates and ups, lie together once relaid


def _as_in_checkpoints(
    module: nn.Module, state: dict[str, torch.Tensor], prefix: str, metadata: object
) -> None:
    del metadata
    assert isinstance(module, Experts)
    if module.relaid or module.interleaved:
        for name in module._columns:
            restored = module._restored(name)
            state[f"{prefix}{name}_blocks"], state[f"{prefix}{name}_scales"] = restored


def _before_loading(module: nn.Module, *args: object) -> None:
    """What is loaded is in the checkpoint's order, and shapes are compared."""
    del args
    assert isinstance(module, Experts)
    module.restore()
    module.rounded = None


class MoE(nn.Module):
    """Each token goes through its `experts_per_token` best experts."""

    def __init__(self, config: ModelConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.top_k = config.experts_per_token
        self.router = Linear(config.hidden_size, config.num_experts)
        self.experts = Experts(config)

    def forward(
        self,
        x: torch.Tensor,
        recording: Recording | None = None,
        *,
        int8_activations: bool = False,
        fp8_prefill: bool = False,
    ) -> torch.Tensor:
        """(tokens, hidden) to the same; the options are those of ForwardBatch."""
        logits = self.router(x)  # (tokens, experts)
        if recording is not None:
            recording.keep_router_logits(self.layer_idx, logits)
        copy = self.experts.rounded if fp8_prefill and fp8.takes(x) else None
        if copy is not None:
            weights, expert_ids = route(logits, self.top_k)
            return run_rounded(x, expert_ids, weights, copy, self.experts.weights())
        experts = self.experts.weights(int8_activations=int8_activations)
        return route_and_run(x, logits, self.top_k, experts)

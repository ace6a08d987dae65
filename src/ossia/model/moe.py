"""The mixture of experts: a router, and experts that stay packed or are plain floats."""

from __future__ import annotations

import torch
from torch import nn

from ossia.config import MXFP4_BLOCK, ModelConfig
from ossia.kernels.moe import ExpertWeights, run_experts
from ossia.kernels.mxfp4 import Mxfp4Tensor
from ossia.kernels.routing import route
from ossia.model.recording import Recording


class Experts(nn.Module):
    """The experts' parameters under their Hugging Face names, in the config's format."""

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

    def weights(self) -> ExpertWeights:
        """The parameters as the expert kernels take them."""
        if self.packed:
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
        )

    def _add_packed(self, name: str, experts: int, rows: int, columns: int) -> None:
        scales = (experts, rows, columns // MXFP4_BLOCK)
        blocks = (*scales, MXFP4_BLOCK // 2)
        for suffix, shape in (("blocks", blocks), ("scales", scales)):
            packed = torch.zeros(shape, dtype=torch.uint8)
            self.register_parameter(f"{name}_{suffix}", nn.Parameter(packed, requires_grad=False))


class MoE(nn.Module):
    """Each token goes through its `experts_per_token` best experts."""

    def __init__(self, config: ModelConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.top_k = config.experts_per_token
        self.router = nn.Linear(config.hidden_size, config.num_experts)
        self.experts = Experts(config)

    def forward(self, x: torch.Tensor, recording: Recording | None = None) -> torch.Tensor:
        """(tokens, hidden) to the same."""
        logits = self.router(x)  # (tokens, experts)
        if recording is not None:
            recording.keep_router_logits(self.layer_idx, logits)
        weights, expert_ids = route(logits, self.top_k)  # (tokens, top_k) both
        return run_experts(x, expert_ids, weights, self.experts.weights())

"""Collected: what a decoding loop gathers for who asked for more than ids."""

from __future__ import annotations

from typing import Any

import torch

from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.outputs import PerToken


class Collected:
    """Scores, logits and per-layer outputs of all steps; None where not asked for.

    Args:
        config: Resolved.
    """

    def __init__(self, config: GenerationConfig) -> None:
        wanted = bool(config.return_dict_in_generate)
        self.scores: PerToken | None = () if wanted and config.output_scores else None
        self.logits: PerToken | None = () if wanted and config.output_logits else None
        self._layers: dict[str, tuple[Any, ...] | None] = {
            name: () if wanted and getattr(config, f"output_{name}") else None
            for name in ("attentions", "hidden_states", "router_logits")
        }

    def add_scores(self, scores: torch.Tensor, logits: torch.Tensor) -> None:
        """Keep a step's scores (rows, vocab), before and after processing."""
        if self.scores is not None:
            self.scores += (scores.clone(),)
        if self.logits is not None:
            self.logits += (logits,)

    def add_layers(self, output: Any) -> None:
        """Keep what a forward pass gave of its layers."""
        for name, kept in self._layers.items():
            if kept is not None:
                self._layers[name] = (*kept, getattr(output, name))

    def put_layers(self, name: str, steps: tuple[Any, ...]) -> None:
        """Put in the steps of one kind of output, for loops that compute several at once."""
        kept = self._layers[name]
        if kept is not None:
            self._layers[name] = kept + steps

    def layers(self) -> dict[str, Any]:
        """For the fields of the output classes."""
        return dict(self._layers)

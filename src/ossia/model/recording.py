"""Recording: what a caller wants to see of the inside of a forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

ByLayer = dict[int, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Where a pass puts what it was asked to keep; everything in it is differentiable.

    Entries are by layer, so that a layer which is computed again for its gradient changes nothing.

    Args:
        hidden: Keep what goes into each layer, and under the number of layers what comes out of
            the final norm: (tokens, hidden).
        attentions: Keep the weights of each layer's attention: (batch, heads, queries, keys). Of
            passes over padded rows only.
        router: Keep each layer's router logits: (tokens, experts).
    """

    hidden: bool = False
    attentions: bool = False
    router: bool = False
    hidden_states: ByLayer = field(default_factory=dict)
    attention_weights: ByLayer = field(default_factory=dict)
    router_logits: ByLayer = field(default_factory=dict)

    @property
    def wants_any(self) -> bool:
        """Whether there is anything to keep."""
        return self.hidden or self.attentions or self.router

    def keep_hidden(self, layer_idx: int, x: torch.Tensor) -> None:
        """Keep a layer's input, if it is wanted."""
        if self.hidden:
            self.hidden_states[layer_idx] = x

    def keep_router_logits(self, layer_idx: int, logits: torch.Tensor) -> None:
        """Keep a layer's router logits, if they are wanted."""
        if self.router:
            self.router_logits[layer_idx] = logits

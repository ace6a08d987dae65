"""ExpertsWay: which kernels run a layer's experts in steps and passes, by the number of tokens and the device."""

from __future__ import annotations

from enum import Enum

import torch

from ossia.kernels.decode import dozens, several, wide
from ossia.kernels.decode.launching import FEW_TOKENS


class ExpertsWay(Enum):
    """In order of the tokens that they are for."""

    FEW = "project_up and project_down"
    SEVERAL = "run_several"
    DOZENS = "run_dozens"
    ROUTED = "routed_up and routed_down"
    WIDE = "wide_up and wide_down_parts"

    @classmethod
    def choose(
        cls, tokens: int, top_k: int, experts: int, sizes: tuple[int, int], device: torch.device
    ) -> ExpertsWay:
        """The fastest one for experts of such sizes, hidden and ffn."""
        if several.fits(tokens, top_k, experts, sizes, device):
            return cls.SEVERAL
        if tokens <= FEW_TOKENS:
            return cls.FEW
        if dozens.fits(tokens, top_k, experts, sizes, device):
            return cls.DOZENS
        many = tokens * top_k > wide.WIDE_SLOTS * experts
        return cls.WIDE if many and wide.runs_on(device) else cls.ROUTED

    @property
    def in_places(self) -> bool:
        """Whether operands' columns are in the order of `wide.operand_places`."""
        return self in (ExpertsWay.DOZENS, ExpertsWay.WIDE)

    def is_sorted(self, tokens: int) -> bool:
        """Whether slots of so many tokens must be sorted before."""
        few = several.CHOOSING_TOKENS if self is ExpertsWay.SEVERAL else FEW_TOKENS
        return tokens > few

    def width(self, slots: int, experts: int) -> int | None:
        """Slots of an item at most, where so many go to so many experts; None: as `Slots.empty` says."""
        if self is ExpertsWay.DOZENS:
            return dozens.WIDTH
        module = {ExpertsWay.SEVERAL: several, ExpertsWay.WIDE: wide}.get(self)
        return None if module is None else module.width_for(slots, experts)

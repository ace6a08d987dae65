"""Peers: keeps processes together that must all run the same number of forward passes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


class Peers:
    """For models whose parameters are spread over processes (`synced_gpus`).

    Args:
        enabled: Whether there is anybody to wait for.
        device: Where the processes talk.
    """

    def __init__(self, enabled: bool, device: torch.device) -> None:
        self._enabled = enabled and dist.is_initialized()
        self._device = device

    def announce(self) -> None:
        """Tell the others that a forward pass follows."""
        if self._enabled:
            self._anyone(at_work=True)

    def keep_company(self, model: Any, input_ids: torch.Tensor) -> None:
        """Run passes that nobody looks at until all processes are done.

        Args:
            model: Takes `input_ids`.
            input_ids: int64 (rows, seq); one column of it is computed each time.
        """
        while self._enabled and self._anyone(at_work=False):
            model(input_ids=input_ids[:, -1:], use_cache=False)

    def _anyone(self, *, at_work: bool) -> bool:
        count = torch.tensor(int(at_work), device=self._device)
        dist.all_reduce(count)
        return int(count) > 0

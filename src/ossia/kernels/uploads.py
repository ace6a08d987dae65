"""upload, send: numbers to a device that is busy."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def upload(
    numbers: Sequence[float], device: torch.device, dtype: torch.dtype = torch.int64
) -> torch.Tensor:
    """(len(numbers),) on a device, as `send` brings it there."""
    return send(torch.tensor(numbers, dtype=dtype), device)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device, for what is enqueued behind it; what the device does meanwhile is not waited for."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)

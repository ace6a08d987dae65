"""upload: numbers to a device that is busy."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def upload(
    numbers: Sequence[float], device: torch.device, dtype: torch.dtype = torch.int64
) -> torch.Tensor:
    """(len(numbers),) on a device, for what is enqueued behind it; what the device does meanwhile is not waited for."""
    tensor = torch.tensor(numbers, dtype=dtype, pin_memory=device.type == "cuda")
    return tensor.to(device, non_blocking=True)

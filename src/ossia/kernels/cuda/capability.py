"""nvidia_capability: the generation of an NVIDIA GPU."""

from __future__ import annotations

import torch


def nvidia_capability(device: torch.device) -> tuple[int, int] | None:
    """Compute capability, such as (9, 0) for Hopper; None for whatever is no GPU of NVIDIA's.

    A torch for ROCm calls AMD's GPUs "cuda", too, and has such numbers for them, which mean something else: an
    MI200's are (9, 0).
    """
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    return torch.cuda.get_device_capability(device)

"""check_room: refuse a model that the memory cannot take, before the system kills the process."""

from __future__ import annotations

import torch
from torch import nn

from ossia.errors import CapacityError
from ossia.machine import machine_memory


def check_room(name: str, module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """See whether all parameters of a module can be allocated.

    Args:
        name: The model, for the message.
        module: Its parameters need no memory yet.
        dtype: Of the floating-point parameters.
        device: Where they are to be.

    Raises:
        CapacityError: they are larger than what is free.
    """
    needed = sum(
        param.numel() * (dtype.itemsize if param.is_floating_point() else param.itemsize)
        for param in module.parameters()
    )
    check_bytes(name, needed, device)


def check_bytes(name: str, needed: int, device: torch.device) -> None:
    """See whether so many bytes can be allocated; on devices other than the CPU and CUDA nobody can say before.

    Args:
        name: What they are for, for the message.
        needed: How many.
        device: Where they are to be.

    Raises:
        CapacityError: they are more than what is free.
    """
    place = "cpu" if device.type == "cpu" else f"{device.type}:{device.index or 0}"
    free = {memory.device: memory.free_bytes for memory in machine_memory()}.get(place)
    if free is not None and needed > free:
        raise CapacityError(
            f"{name} takes {needed / 1e9:.1f} GB, {place} has {free / 1e9:.1f} GB free; "
            "take a smaller model or another device",
            field="model",
        )

"""use_fitting_threads: as many CPU threads as a model gains from."""

from __future__ import annotations

import torch
from torch import nn

_SMALL_BYTES = 1_000_000_000


def use_fitting_threads(module: nn.Module) -> None:
    """Run a small model on one thread; for the whole process, so a program decides on it.

    Its operations take microseconds. Sharing them gains little on an idle machine, and on a busy
    one each waits until the system has given every thread a turn. Measured with the demo on two
    cores that four other processes used: 37 ms a token on one thread, 540 ms on two.

    Args:
        module: On the CPU, or the call changes nothing.
    """
    parameters = list(module.parameters())
    on_cpu = all(param.device.type == "cpu" for param in parameters)
    if on_cpu and sum(param.nbytes for param in parameters) < _SMALL_BYTES:
        torch.set_num_threads(1)

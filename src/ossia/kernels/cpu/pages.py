"""Where weights lie in memory: in large pages, if the system has some.

Most machines find an address faster in pages of 2 MiB than of 4 KiB; virtual ones above all. A file's pages
are small ones.
"""

from __future__ import annotations

from threading import Thread

import torch

from ossia.kernels.cpu.kernel_library import load


def in_large_pages(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in large pages; the tensor itself where there is no library or it is not on the CPU."""
    kernels = load()
    if kernels is None or tensor.device.type != "cpu":
        return tensor
    copy = torch.empty_like(tensor, memory_format=torch.contiguous_format)
    kernels.ask_for_large_pages(copy)
    return copy.copy_(tensor)


def page_out(tensor: torch.Tensor) -> None:
    """Let the system take back the pages of a tensor that is a view on a mapped file and not needed any more.

    Nothing is lost: what was read is read again where it is asked for, what was written stays.
    """
    kernels = load()
    if kernels is not None and tensor.device.type == "cpu" and tensor.is_contiguous():
        kernels.page_out(tensor)


def read_ahead(tensor: torch.Tensor) -> Thread | None:
    """Have the system read the pages of a tensor that is a view on a mapped file, in the background.

    Returns:
        The thread that asks for them, which nobody has to wait for; None where there is nothing to ask for.
    """
    if tensor.device.type != "cpu" or not tensor.is_contiguous():
        return None
    if (kernels := load()) is None:
        return None
    thread = Thread(target=kernels.read_ahead, args=(tensor,), name="read ahead", daemon=True)
    thread.start()
    return thread

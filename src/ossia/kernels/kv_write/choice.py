"""rotate_and_write: the fastest implementation that takes these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch

from ossia.kernels.backend import choose
from ossia.kernels.kv_write import reference


def rotate_and_write(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    pages: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
) -> torch.Tensor:
    """As `reference.rotate_and_write` defines it; q may be overwritten."""
    if (
        q.is_cuda
        and q.dtype in (torch.bfloat16, torch.float16)  # the kernel turns in float32
        and q.dtype is pages[0].dtype
        and all(part.stride()[1:] == (part.shape[2], 1) for part in (q, k, v))
        and len(q) > 0
        and not torch.is_grad_enabled()
        and _chosen(q.device) == "triton"
    ):
        from ossia.kernels.kv_write import triton_rope

        with torch.cuda.device_of(q):  # Triton launches on the current device
            triton_rope.rotate_and_write(q, k, v, rope, pages, slots)
        return q
    return reference.rotate_and_write(q, k, v, rope, pages, slots)


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("kv_write", device).chosen.name

"""rotate_and_write: the fastest implementation that takes these tensors."""

from __future__ import annotations

from functools import lru_cache

import torch

from ossia.kernels.backend import choose
from ossia.kernels.cpu.kernel_library import TYPES
from ossia.kernels.fp8 import FP8, has_fp8
from ossia.kernels.kv_write import cpu, reference


def rotate_and_write(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor],
    pages: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
) -> torch.Tensor:
    """As `reference.rotate_and_write` defines it; q and k may be overwritten."""
    if (
        q.is_cuda
        and q.dtype in (torch.bfloat16, torch.float16)  # the kernel turns in float32
        and pages[0].dtype is pages[1].dtype
        and (pages[0].dtype is q.dtype or (pages[0].dtype is FP8 and has_fp8(q.device)))
        and all(part.stride()[1:] == (part.shape[2], 1) for part in (q, k, v))
        and len(q) > 0
        and not torch.is_grad_enabled()
        and _chosen(q.device) == "triton"
    ):
        from ossia.kernels.kv_write import triton_rope

        with torch.cuda.device_of(q):  # Triton launches on the current device
            triton_rope.rotate_and_write(q, k, v, rope, pages, slots)
        return q
    if (
        not torch.is_grad_enabled()
        and q.device.type == pages[0].device.type == "cpu"
        and q.dtype is k.dtype is v.dtype
        and pages[0].dtype is pages[1].dtype
        and pages[0].dtype in (q.dtype, torch.int8)
        and q.dtype in TYPES
        and q.shape[2] % 2 == 0
        and all(part.stride()[1:] == (part.shape[2], 1) for part in (q, k, v))
        and all(part.is_contiguous() for part in (*pages, slots))
        and rope[0].dtype is rope[1].dtype is torch.float32
        and len(q) > 0
        and _chosen(q.device) == "cpu"
    ):
        cpu.rotate_and_write(q, k, v, rope, pages, slots)
        return q
    return reference.rotate_and_write(q, k, v, rope, pages, slots)


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("kv_write", device).chosen.name

"""widened, sample, token_logprobs: the fastest implementation that takes these tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from ossia.kernels.backend import choose
from ossia.kernels.sampling import cpu, cuda, reference
from ossia.kernels.sampling.drawing import Drawing


def widened(logits: torch.Tensor) -> torch.Tensor:
    """As `reference.widened` defines it."""
    if (
        logits.device.type == "cpu"
        and logits.dtype is torch.bfloat16
        and logits.is_contiguous()
        and not (torch.is_grad_enabled() and logits.requires_grad)
        and _chosen(logits.device) == "cpu"
    ):
        return cpu.widened(logits)
    return reference.widened(logits)


def sample(
    logits: torch.Tensor, drawings: Sequence[Drawing | None], *, evenly: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `reference.sample` defines it; the CPU does it for devices that may lack float64."""
    if logits.device.type not in ("cpu", "cuda"):
        token_ids, peaks = sample(logits.cpu(), drawings, evenly=evenly)
        return token_ids.to(logits.device), peaks.to(logits.device)
    if _taken_by_cpu(logits):
        return cpu.sample(logits, drawings)
    if _taken_by_cuda(logits):
        with torch.cuda.device_of(logits):  # kernels start on the current device
            return cuda.sample(logits, drawings, evenly=evenly)
    return reference.sample(logits, drawings, evenly=evenly)


def samples_row_by_row(logits: torch.Tensor) -> bool:
    """Whether `sample`, asked to do so evenly, gives each of these rows the bits that it gives it alone."""
    return _taken_by_cuda(logits)


def token_logprobs(
    logits: torch.Tensor, token_ids: torch.Tensor, num_top: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `reference.token_logprobs` defines it."""
    implementation = cpu if _taken_by_cpu(logits) else reference
    return implementation.token_logprobs(logits, token_ids, num_top)


def _taken_by_cpu(logits: torch.Tensor) -> bool:
    return (
        logits.device.type == "cpu"
        and logits.dtype is torch.float32
        and logits.stride(1) == 1
        and logits.numel() > 0
        and not (torch.is_grad_enabled() and logits.requires_grad)
        and _chosen(logits.device) == "cpu"
    )


def _taken_by_cuda(logits: torch.Tensor) -> bool:
    return (
        logits.device.type == "cuda"
        and logits.dtype is torch.float32
        and logits.is_contiguous()
        and logits.data_ptr() % 16 == 0
        and logits.numel() > 0
        and not (torch.is_grad_enabled() and logits.requires_grad)
        and _chosen(logits.device) == "cuda"
    )


@lru_cache
def _chosen(device: torch.device) -> str:
    return choose("sampling", device).chosen.name

"""The expert layer by the CPU kernels, over interleaved weights."""

from __future__ import annotations

import ctypes

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.calls import ExpertsCall
from ossia.kernels.cpu.kernel_library import TYPES
from ossia.kernels.moe.reference import ExpertWeights
from ossia.kernels.mxfp4.interleaved import InterleavedMxfp4

DTYPES = tuple(TYPES)


def run_experts(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """As `reference.run_experts`; no gradients.

    An expert's weights are read once for all of its tokens. Results are rounded to x's dtype where
    the reference rounds them, except within the SwiGLU, which is float32 throughout. Where the
    weights ask for int8 activations, what enters either product is rounded to 8 bits, with a scale
    for each 32 values (and with AMX, in bfloat16, to that if an expert has many tokens).

    Args:
        x: (tokens, hidden), float32 or bfloat16, on the CPU.
        expert_ids: int64 (tokens, top_k).
        weights: (tokens, top_k).
        experts: Interleaved weights; biases of x's dtype.

    Returns:
        (tokens, hidden) of x's dtype. What a token gets does not depend on the other tokens; but with
        AMX, in bfloat16, on how many of them its experts have.

    Raises:
        KernelError: an expert's number is out of range, or memory is out.
    """
    kernels, gate_up, down = load(), experts.gate_up, experts.down
    assert kernels is not None
    assert isinstance(gate_up, InterleavedMxfp4)
    assert isinstance(down, InterleavedMxfp4)
    x, expert_ids, weights = (
        x.contiguous(),
        expert_ids.contiguous(),
        weights.to(x.dtype).contiguous(),
    )
    gate_up_bias, down_bias = experts.gate_up_bias.contiguous(), experts.down_bias.contiguous()
    out = torch.empty_like(x)
    call = ExpertsCall(
        gate_up_codes=gate_up.blocks.data_ptr(), gate_up_scales=gate_up.scales.data_ptr(),
        gate_up_bias=gate_up_bias.data_ptr(),
        down_codes=down.blocks.data_ptr(), down_scales=down.scales.data_ptr(),
        down_bias=down_bias.data_ptr(),
        x=x.data_ptr(), ids=expert_ids.data_ptr(), weights=weights.data_ptr(), out=out.data_ptr(),
        tokens=len(x), experts=len(down_bias), hidden=x.shape[1], ffn=gate_up_bias.shape[1] // 2,
        top_k=expert_ids.shape[1], alpha=experts.alpha, limit=experts.limit,
        type=TYPES[x.dtype], activations=int(experts.int8_activations), threads=num_threads(),
    )  # fmt: skip
    kernels.call("ossia_run_experts", ctypes.byref(call))
    return out

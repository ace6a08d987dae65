"""run_few: all of a layer's chosen experts for a few tokens in one kernel; Hopper only."""

from __future__ import annotations

import ctypes

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Few, Matrix, address
from ossia.kernels.decode.experts import MAX_EXPERTS, MAX_TOP_K, RoutedStep
from ossia.kernels.decode.launching import FEW_TOKENS, TILE_ROWS, is_hopper, multiprocessors
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS, whole_units

_WARPS, _UNITS, _MOST_STAGES, _UNIT_BYTES = 12, 4, 32, 544  # of few.cu
_THREADS = (_WARPS + 1) * 32
_SHARED_BYTES = 232_448 - 2_560  # that a block may have, without what it always has
_ALIGNMENT = 128  # of a stage
_FLIGHT = 2  # stages on their way at once: enough for all the bandwidth, no more
_SUMS = 12  # tiles whose sums there is room for


def fits(tokens: int, hidden: int, ffn: int, device: torch.device) -> bool:
    """Whether a device runs the kernel for such experts."""
    most = _WARPS * _UNITS * UNIT_COLUMNS
    return tokens <= FEW_TOKENS and is_hopper(device) and max(hidden, ffn) <= most


def run_few(
    x: torch.Tensor,
    routed: RoutedStep,
    weights: tuple[RelaidMxfp4, RelaidMxfp4],
    biases: tuple[torch.Tensor, torch.Tensor],
    alpha: float,
    limit: float,
    inner: torch.Tensor,
    out: torch.Tensor,
    arrivals: torch.Tensor,
) -> None:
    """kernels.moe.reference.run_experts: gate, up, clamped SwiGLU, the way back and the weighted sum.

    All blocks wait for each other, so two of these kernels must not run at once on a device.

    Args:
        x: bfloat16 times X_SCALE (tokens, units * 64), zeros from hidden on; `fits`.
        routed: The choice of experts.
        weights: Paired (experts, 2 ffn, hidden), and not paired (experts, hidden, ffn).
        biases: bfloat16 (experts, 2 ffn), gate and up interleaved, and (experts, hidden).
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
        inner: bfloat16 (tokens * top_k, units * 64), scratch whose columns from ffn on are zeros.
        out: float32 (top_k, tokens, hidden), whose sum is the result; rows of tokens that go nowhere are
            left as they are.
        arrivals: int64 (1,), zero at first, then left alone.
    """
    up, down = (_matrix(matrix, bias) for matrix, bias in zip(weights, biases, strict=True))
    tokens, experts = routed.logits.shape
    top_k = routed.top_k
    assert weights[0].paired
    assert not weights[1].paired
    assert fits(tokens, weights[0].columns, weights[1].columns, x.device)
    assert x.shape == (tokens, up.units * UNIT_COLUMNS), x.shape
    assert inner.shape == (tokens * top_k, down.units * UNIT_COLUMNS), inner.shape
    assert out.shape == (top_k, tokens, down.rows), out.shape
    assert experts <= MAX_EXPERTS, experts
    assert top_k <= MAX_TOP_K, top_k
    columns = 1 << (tokens - 1).bit_length()
    stage = -(-max(up.units, down.units) * _UNIT_BYTES // _ALIGNMENT) * _ALIGNMENT
    kept = _SUMS * _WARPS * columns * TILE_ROWS * 4
    stages = min(_MOST_STAGES, (_SHARED_BYTES - kept) // stage)
    arguments = Few(
        up=up, down=down, logits=address(routed.logits), positions=address(routed.positions),
        x=address(x), inner=address(inner), y=address(out), arrivals=address(arrivals),
        tokens=tokens, experts=experts, top_k=top_k, stages=stages, stage=stage, flight=_FLIGHT,
        sums=_SUMS, alpha=alpha, limit=limit,
    )  # fmt: skip
    kernel = program("few.cu", x.device)[f"few_{columns}"]
    launch(kernel, (multiprocessors(x.device), 1, 1), _THREADS, stages * stage + kept, arguments)


def _matrix(weights: RelaidMxfp4, bias: torch.Tensor) -> ctypes.Structure:
    _, tiles, units, _ = weights.blocks.shape
    assert units * UNIT_COLUMNS == whole_units(weights.columns)
    return Matrix(
        blocks=address(weights.blocks), scales=address(weights.scales), bias=address(bias),
        tiles=tiles, units=units, rows=bias.shape[1],
    )  # fmt: skip

"""project_up and project_down: a layer's chosen experts, their weights read once."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from ossia.kernels.decode.arguments import Experts, Matrix, address
from ossia.kernels.decode.launching import COLUMNS, FEW_TOKENS, Product
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS, whole_units

X_SCALE = 2.0**64
"""Experts take their inputs times this, so that FP4 codes can be read as tiny bfloat16 numbers."""
MAX_EXPERTS, MAX_TOP_K = 256, 8
_UNIT_BYTES = 20  # of a unit that a lane takes: codes and scales
_OPERAND_BYTES = 2 * UNIT_COLUMNS  # of a unit that a token has


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedStep:
    """Which experts a step's tokens go to: the router's word on it.

    Args:
        logits: float32 (tokens, experts), rounded to bfloat16 as the router's are; for `dispatch` these
            are `scale` times them and the bias.
        positions: int32 (tokens,); tokens at negative ones go nowhere. None: all are there, for
            `dispatch` only.
        top_k: Experts a token.
        bias: bfloat16 (experts,), for `dispatch` only.
        scale: For `dispatch` only.
    """

    logits: torch.Tensor
    positions: torch.Tensor | None
    top_k: int
    bias: torch.Tensor | None = None
    scale: float = 1.0


def project_up(
    x: torch.Tensor,
    routed: RoutedStep,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    alpha: float,
    limit: float,
    out: torch.Tensor,
) -> None:
    """Gate, up and clamped SwiGLU; with `project_down` it is kernels.moe.reference.run_experts.

    Args:
        x: bfloat16 times X_SCALE (tokens, units * 64), zeros from `columns` on.
        routed: The choice of experts.
        weights: Paired, (experts, 2 ffn, hidden).
        bias: bfloat16 (experts, 2 ffn), gate and up interleaved.
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
        out: bfloat16 times X_SCALE (tokens * top_k, stride), stride at least ffn; columns from ffn
            on and rows of tokens that go nowhere are left as they are.
    """
    assert weights.paired
    assert x.shape[1] == weights.blocks.shape[2] * UNIT_COLUMNS
    arguments = _arguments(x, routed, weights, bias, out)
    arguments.out_stride, arguments.alpha, arguments.limit = out.shape[1], alpha, limit
    product = Product("gate_up", x.device)
    operands = arguments.units * len(x) * _OPERAND_BYTES
    product.launch(product.blocks, _UNIT_BYTES, operands, arguments)


def project_down(
    inner: torch.Tensor,
    routed: RoutedStep,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """The way back, weighted and summed over a token's experts.

    Must be enqueued right behind `project_up` and no other kernel.

    Args:
        inner: What `project_up` gave, (tokens * top_k, units * 64), zeros from `columns` on.
        routed: The same.
        weights: Not paired, (experts, hidden, ffn).
        bias: bfloat16 (experts, hidden).
        out: float32 (parts, tokens, hidden), as `project` leaves it; tokens that go nowhere get
            zeros, or nothing if all of them do.
    """
    parts, _, rows = out.shape
    assert not weights.paired
    assert inner.shape[1] == weights.blocks.shape[2] * UNIT_COLUMNS
    arguments = _arguments(inner, routed, weights, bias, out)
    arguments.parts = parts
    product = Product("down", inner.device)
    unit = _UNIT_BYTES + 4 * COLUMNS  # operands of its own, too
    product.launch(product.split_blocks(rows), unit, 0, arguments)


def both_matrices(
    x: torch.Tensor,
    weights: tuple[RelaidMxfp4, RelaidMxfp4],
    biases: tuple[torch.Tensor, torch.Tensor],
    inner: torch.Tensor,
    out: torch.Tensor,
) -> tuple[ctypes.Structure, ctypes.Structure]:
    """A layer's matrices as kernels take them that run both; what they are given must fit.

    Args:
        x: (tokens, units * 64).
        weights: Paired, and not paired.
        biases: Of both.
        inner: (tokens * top_k, units * 64).
        out: (top_k, tokens, hidden).
    """
    up, down = (_matrix(matrix, bias) for matrix, bias in zip(weights, biases, strict=True))
    top_k, tokens, rows = out.shape
    assert weights[0].paired
    assert not weights[1].paired
    assert x.shape == (tokens, up.units * UNIT_COLUMNS), x.shape
    assert inner.shape == (tokens * top_k, down.units * UNIT_COLUMNS), inner.shape
    assert rows == down.rows, (rows, down.rows)
    return up, down


def _matrix(weights: RelaidMxfp4, bias: torch.Tensor) -> ctypes.Structure:
    _, tiles, units, _ = weights.blocks.shape
    assert units * UNIT_COLUMNS == whole_units(weights.columns)
    return Matrix(
        blocks=address(weights.blocks), scales=address(weights.scales), bias=address(bias),
        tiles=tiles, units=units, rows=bias.shape[1],
    )  # fmt: skip


def _arguments(
    x: torch.Tensor,
    routed: RoutedStep,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    out: torch.Tensor,
) -> ctypes.Structure:
    tokens, experts = routed.logits.shape
    assert tokens <= FEW_TOKENS, tokens
    assert experts <= MAX_EXPERTS, experts
    assert routed.top_k <= MAX_TOP_K, routed.top_k
    assert routed.bias is None
    return Experts(
        blocks=address(weights.blocks), scales=address(weights.scales), bias=address(bias),
        logits=address(routed.logits), positions=address(routed.positions), x=address(x),
        y=address(out), tokens=tokens, experts=experts, top_k=routed.top_k,
        tiles=weights.blocks.shape[1], units=weights.blocks.shape[2], rows=bias.shape[1],
    )  # fmt: skip

"""wide_up, wide_down and wide_down_parts: the experts for very many tokens, by Hopper's warpgroup products."""

from __future__ import annotations

import ctypes

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Wide, address
from ossia.kernels.decode.launching import is_hopper
from ossia.kernels.decode.routed import Slots
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS

WIDTH = 128
"""Slots of an item at most."""
_WARPS, _STAGES = 16, 5  # of wide.cu
_STAGE_BYTES = WIDTH * 2 * UNIT_COLUMNS + _WARPS * 640
_ALIGNMENT = 1024  # of the operands in shared memory


def runs_on(device: torch.device) -> bool:
    """Whether a device has the instructions; only Hopper does."""
    return is_hopper(device)


def operand_places(columns: int) -> torch.Tensor:
    """Which column stands at each place of a row of operands, int64 (columns,).

    Within each 32, place 16 m + 8 h + 2 q + j holds column 8 q + 4 m + 2 h + j.
    """
    order = torch.arange(32).view(4, 2, 2, 2)  # q, m, h, j
    places = order.permute(1, 2, 0, 3).flatten()
    return (torch.arange(0, columns, 32)[:, None] + places).flatten()


def wide_up(
    x: torch.Tensor,
    slots: Slots,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    alpha: float,
    limit: float,
    out: torch.Tensor,
) -> None:
    """As `routed_up`.

    Args:
        x: bfloat16 times X_SCALE (tokens, units * 64), zeros from `columns` on, its columns in the
            order of `operand_places`.
        slots: Sorted, with items of WIDTH.
        weights: Paired, (experts, 2 ffn, hidden).
        bias: bfloat16 (experts, 2 ffn).
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
        out: Like x, (tokens * top_k, stride), stride at least ffn; columns from ffn on are left.
    """
    assert weights.paired
    arguments = _arguments(x, slots, weights, bias, out, len(x))
    arguments.out_stride, arguments.alpha, arguments.limit = out.shape[1], alpha, limit
    _launch("wide_up", slots, arguments)


def wide_down(
    inner: torch.Tensor,
    slots: Slots,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """The way back.

    Args:
        inner: What `wide_up` gave.
        slots: The same.
        weights: Not paired, (experts, hidden, ffn).
        bias: bfloat16 (experts, hidden).
        out: bfloat16 (tokens * top_k, hidden): what each slot's expert says.
    """
    assert not weights.paired
    assert out.shape == (len(inner), bias.shape[1]), out.shape
    assert out.dtype is torch.bfloat16, out.dtype
    _launch("wide_down", slots, _arguments(inner, slots, weights, bias, out, len(slots.ids)))


def wide_down_parts(
    inner: torch.Tensor,
    slots: Slots,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """The way back as `routed_down` has it, each slot times its weight.

    Args:
        inner: What `wide_up` gave.
        slots: The same, with their weights.
        weights: Not paired, (experts, hidden, ffn).
        bias: bfloat16 (experts, hidden).
        out: float32 (top_k, tokens, hidden): part i is what a token's i-th expert says, times its
            weight. Rows of tokens that go nowhere are left as they are.
    """
    assert not weights.paired
    top_k, tokens, hidden = out.shape
    assert (top_k * tokens, hidden) == (len(inner), bias.shape[1]), (out.shape, inner.shape)
    assert out.dtype is torch.float32, out.dtype
    _launch("wide_down_parts", slots, _arguments(inner, slots, weights, bias, out, tokens))


def _arguments(
    x: torch.Tensor, slots: Slots, weights: RelaidMxfp4, bias: torch.Tensor, out: torch.Tensor,
    tokens: int,
) -> ctypes.Structure:  # fmt: skip
    _, tiles, units, _ = weights.blocks.shape
    assert x.shape[1] == units * UNIT_COLUMNS, (x.shape, units)
    assert slots.width == WIDTH, slots.width
    return Wide(
        blocks=address(weights.blocks), scales=address(weights.scales), bias=address(bias),
        x=address(x), y=address(out), slots=address(slots.order), items=address(slots.items),
        num_items=address(slots.num_items), weights=address(slots.weights), tokens=tokens,
        top_k=len(slots.ids) // tokens, tiles=tiles, units=units, rows=bias.shape[1],
    )  # fmt: skip


def _launch(name: str, slots: Slots, arguments: ctypes.Structure) -> None:
    shared = _STAGES * _STAGE_BYTES + _ALIGNMENT
    kernel = program("wide.cu", slots.ids.device)[name]
    grid = (-(-arguments.tiles // _WARPS), len(slots.items), 1)
    launch(kernel, grid, _WARPS * 32, shared, arguments, overlap=False)

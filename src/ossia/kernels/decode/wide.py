"""wide_up, wide_down and wide_down_parts: the experts for many tokens, by Hopper's warpgroup products."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Wide, address
from ossia.kernels.decode.launching import is_hopper
from ossia.kernels.decode.routed import Slots
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS

WIDE_SLOTS = 12
"""Slots an expert on average beyond which these products are faster than those of routed.py."""
_ALIGNMENT = 1024  # of the operands in shared memory


@dataclass(frozen=True, slots=True)
class Variant:
    """How a kernel of wide.cu was compiled; the numbers stand in its last lines, too.

    Args:
        mean: Slots of an expert on average up to which it is the one.
        warps: Of a block.
        stages: Units of k in shared memory.
        blocks: That run side by side on a multiprocessor.
    """

    mean: int
    warps: int
    stages: int
    blocks: int

    def shared_bytes(self, width: int) -> int:
        """Of a block, for items of `width` slots."""
        return self.stages * (width * 2 * UNIT_COLUMNS + self.warps * _WEIGHT_BYTES) + _ALIGNMENT


VARIANTS = {32: Variant(18, 8, 6, 4), 64: Variant(40, 8, 5, 3), 128: Variant(2**31, 16, 5, 1)}
"""By slots that an item has at most."""
_WEIGHT_BYTES = 640  # of a unit, a warp's: codes and what its lanes hold of the scales


def width_for(slots: int, experts: int) -> int:
    """Slots of an item at most, where so many go to so many experts."""
    return next(width for width, one in VARIANTS.items() if slots <= one.mean * experts)


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
    *,
    overlap: bool = False,
) -> None:
    """As `routed_up`.

    Args:
        x: bfloat16 times X_SCALE (tokens, units * 64), zeros from `columns` on, its columns in the
            order of `operand_places`.
        slots: Sorted, with items of one of the widths of VARIANTS.
        weights: Paired, (experts, 2 ffn, hidden).
        bias: bfloat16 (experts, 2 ffn).
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
        out: Like x, (tokens * top_k, stride), stride at least ffn; columns from ffn on are left.
        overlap: As in `launch`.
    """
    assert weights.paired
    arguments = _arguments(x, slots, weights, bias, out, len(x))
    arguments.out_stride, arguments.alpha, arguments.limit = out.shape[1], alpha, limit
    _launch("wide_up", slots, arguments, overlap)


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
    _launch("wide_down", slots, _arguments(inner, slots, weights, bias, out, len(slots.ids)), False)


def wide_down_parts(
    inner: torch.Tensor,
    slots: Slots,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    out: torch.Tensor,
    *,
    overlap: bool = False,
) -> None:
    """The way back as `routed_down` has it, each slot times its weight.

    Args:
        inner: What `wide_up` gave.
        slots: The same, with their weights.
        weights: Not paired, (experts, hidden, ffn).
        bias: bfloat16 (experts, hidden).
        out: float32 (top_k, tokens, hidden): part i is what a token's i-th expert says, times its
            weight. Rows of tokens that go nowhere are left as they are.
        overlap: As in `launch`; then it must be enqueued right behind `wide_up`, since it reads slots
            before it waits.
    """
    assert not weights.paired
    top_k, tokens, hidden = out.shape
    assert (top_k * tokens, hidden) == (len(inner), bias.shape[1]), (out.shape, inner.shape)
    assert out.dtype is torch.float32, out.dtype
    _launch("wide_down_parts", slots, _arguments(inner, slots, weights, bias, out, tokens), overlap)


def _arguments(
    x: torch.Tensor, slots: Slots, weights: RelaidMxfp4, bias: torch.Tensor, out: torch.Tensor,
    tokens: int,
) -> ctypes.Structure:  # fmt: skip
    _, tiles, units, _ = weights.blocks.shape
    assert x.shape[1] == units * UNIT_COLUMNS, (x.shape, units)
    assert slots.width in VARIANTS, slots.width
    return Wide(
        blocks=address(weights.blocks), scales=address(weights.scales), bias=address(bias),
        x=address(x), y=address(out), slots=address(slots.order), items=address(slots.items),
        num_items=address(slots.num_items), weights=address(slots.weights), tokens=tokens,
        top_k=len(slots.ids) // tokens, tiles=tiles, units=units, rows=bias.shape[1],
    )  # fmt: skip


def _launch(name: str, slots: Slots, arguments: ctypes.Structure, overlap: bool) -> None:
    variant = VARIANTS[slots.width]
    kernel = program("wide.cu", slots.ids.device)[f"{name}_{slots.width}"]
    grid = (-(-arguments.tiles // variant.warps), len(slots.items), 1)
    shared = variant.shared_bytes(slots.width)
    launch(kernel, grid, variant.warps * 32, shared, arguments, overlap=overlap)

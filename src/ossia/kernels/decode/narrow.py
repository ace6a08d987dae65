"""narrow_up and narrow_down: the experts for some tokens, by Hopper's warpgroup products."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Narrow, address
from ossia.kernels.decode.launching import TILE_ROWS, multiprocessors
from ossia.kernels.decode.routed import Slots
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS

NARROW_SLOTS = 40
"""Slots an expert on average up to which these products are the fastest way where they run."""
_WEIGHT_BYTES, _OPERAND_BYTES = 544, 2 * UNIT_COLUMNS  # of a unit: a warp's, a slot's
_ALIGNMENT = 1024  # of the operands in shared memory


@dataclass(frozen=True, slots=True)
class Variant:
    """How a kernel of narrow.cu was compiled; the numbers stand in its last lines, too.

    Args:
        mean: Slots of an expert on average up to which it is the one.
        warps: Of a block, those that multiply; two more bring what they need.
        chunk: Units of a stage.
        stages: In shared memory.
        blocks: That run side by side on a multiprocessor.
    """

    mean: int
    warps: int
    chunk: int
    stages: int
    blocks: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return (self.warps + 2) * 32

    def shared_bytes(self, width: int) -> int:
        """Of a block, for items of `width` slots."""
        stage = self.chunk * (self.warps * _WEIGHT_BYTES + width * _OPERAND_BYTES)
        return self.stages * -(-stage // _ALIGNMENT) * _ALIGNMENT + _ALIGNMENT


VARIANTS = {32: Variant(18, 16, 3, 5, 1), 64: Variant(2**31, 16, 3, 4, 1)}
"""By slots that an item has at most."""


def width_for(slots: int, experts: int) -> int:
    """Slots of an item at most, where so many go to so many experts."""
    return next(width for width, one in VARIANTS.items() if slots <= one.mean * experts)


def narrow_up(
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
            order of `wide.operand_places`.
        slots: Sorted, with items of one of the widths of VARIANTS.
        weights: Paired, (experts, 2 ffn, hidden).
        bias: bfloat16 (experts, 2 ffn).
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
        out: Like x, (tokens * top_k, stride), stride at least ffn and even; columns from ffn on and
            rows of tokens that go nowhere are left.
    """
    assert weights.paired
    assert out.shape[1] % 2 == 0, out.shape
    arguments = _arguments(x, slots, weights, bias, out, len(x))
    arguments.out_stride, arguments.alpha, arguments.limit = out.shape[1], alpha, limit
    _launch("narrow_up", slots, arguments)


def narrow_down(
    inner: torch.Tensor,
    slots: Slots,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """As `routed_down`. Must be enqueued right behind `narrow_up`: it reads slots before it waits.

    Args:
        inner: What `narrow_up` gave.
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
    _launch("narrow_down", slots, _arguments(inner, slots, weights, bias, out, tokens))


def _arguments(
    x: torch.Tensor, slots: Slots, weights: RelaidMxfp4, bias: torch.Tensor, out: torch.Tensor,
    tokens: int,
) -> ctypes.Structure:  # fmt: skip
    _, tiles, units, _ = weights.blocks.shape
    assert x.shape[1] == units * UNIT_COLUMNS, (x.shape, units)
    assert bias.shape[1] == tiles * TILE_ROWS, (bias.shape, tiles)
    return Narrow(
        blocks=address(weights.blocks), scales=address(weights.scales), bias=address(bias),
        x=address(x), y=address(out), slots=address(slots.order), items=address(slots.items),
        num_items=address(slots.num_items), weights=address(slots.weights), tokens=tokens,
        top_k=len(slots.ids) // tokens, tiles=tiles, units=units, rows=bias.shape[1],
    )  # fmt: skip


def _launch(name: str, slots: Slots, arguments: ctypes.Structure) -> None:
    variant, device = VARIANTS[slots.width], slots.ids.device
    blocks = min(multiprocessors(device) * variant.blocks, arguments.tiles * len(slots.items))
    kernel = program("narrow.cu", device)[f"{name}_{slots.width}"]
    shared = variant.shared_bytes(slots.width)
    launch(kernel, (blocks, 1, 1), variant.threads, shared, arguments)

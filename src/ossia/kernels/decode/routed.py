"""Dispatch, routed_up, routed_down: the experts for more tokens than `project_up` takes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Dispatch, Routed, address
from ossia.kernels.decode.experts import MAX_EXPERTS, MAX_TOP_K, RoutedStep
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS

_WEIGHT_BYTES, _OPERAND_BYTES = 640, 2 * UNIT_COLUMNS  # of a unit: a warp's, a slot's
_THREADS = 1024
_TOKENS_OF_A_BLOCK = 32  # that `dispatch` chooses for by itself
_CHOOSING_WARPS = 8  # of a block of `choose`, one a token
PACKED_SLOTS = 24
"""Slots an expert on average up to which these products are the fastest way, but on Hopper."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a kernel of routed.cu was compiled; the numbers stand in its last lines, too.

    Args:
        mean: Slots of an expert on average up to which it is the one.
        warps: Of a block.
        stages: Units on their way for each warp.
        blocks: That run side by side on a multiprocessor.
    """

    mean: int
    warps: int
    stages: int
    blocks: int


VARIANTS = {16: Variant(4, 4, 8, 6), 32: Variant(20, 8, 6, 3), 64: Variant(2**31, 8, 6, 2)}
"""By slots that a block takes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Token * top_k + i is the slot of a token's i-th expert; here they lie by expert.

    Args:
        ids: int32 (tokens * top_k,): the slots' experts.
        weights: float32 (tokens * top_k,): the routing weights.
        order: int32 (tokens * top_k,): slots by expert.
        items: int32 (most, 4): an expert, its first place in `order`, how many slots.
        num_items: int32 (1,).
        width: Slots of an item at most.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    order: torch.Tensor
    items: torch.Tensor
    num_items: torch.Tensor
    width: int

    @classmethod
    def empty(
        cls, tokens: int, experts: int, top_k: int, device: torch.device, width: int | None = None
    ) -> Slots:
        """For the given sizes, uninitialised; with the width for `routed_up` if none is given."""
        count = tokens * top_k
        if width is None:
            width = next(width for width, one in VARIANTS.items() if count <= one.mean * experts)
        most = min(experts, count) + count // width

        def integers(*shape: int) -> torch.Tensor:
            return torch.empty(shape, dtype=torch.int32, device=device)

        return cls(
            ids=integers(count),
            weights=torch.empty(count, dtype=torch.float32, device=device),
            order=integers(count),
            items=integers(most, 4),
            num_items=integers(1),
            width=width,
        )


def dispatch(slots: Slots, routed: RoutedStep, *, overlap: bool = True) -> None:
    """Choose every token's experts and sort its slots, as kernels.routing.route.

    Args:
        slots: All of it is written.
        routed: The router's word.
        overlap: As in `launch`.
    """
    tokens, experts = routed.logits.shape
    _dispatch(slots, routed, tokens, experts, overlap)


def sort_slots(slots: Slots, experts: int, top_k: int) -> None:
    """As `dispatch` where `slots.ids` and `slots.weights` are given."""
    _dispatch(slots, None, len(slots.ids) // top_k, experts, overlap=False)


def _dispatch(
    slots: Slots, routed: RoutedStep | None, tokens: int, experts: int, overlap: bool
) -> None:
    top_k = len(slots.ids) // tokens
    assert experts <= MAX_EXPERTS, experts
    assert top_k <= MAX_TOP_K, top_k
    arguments = Dispatch(
        ids=address(slots.ids), weights=address(slots.weights), slots=address(slots.order),
        items=address(slots.items), num_items=address(slots.num_items), tokens=tokens,
        experts=experts, top_k=top_k, width=slots.width,
    )  # fmt: skip
    kernels = program("dispatch.cu", slots.ids.device)
    if routed is not None:
        arguments.logits, arguments.bias = address(routed.logits), address(routed.bias)
        arguments.positions, arguments.scale = address(routed.positions), routed.scale
        if tokens > _TOKENS_OF_A_BLOCK:
            grid = (-(-tokens // _CHOOSING_WARPS), 1, 1)
            launch(kernels["choose"], grid, 32 * _CHOOSING_WARPS, 0, arguments, overlap=overlap)
            arguments.logits, overlap = None, True
    launch(kernels["dispatch"], (1, 1, 1), _THREADS, 0, arguments, overlap=overlap)


def routed_up(
    x: torch.Tensor,
    slots: Slots,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    alpha: float,
    limit: float,
    out: torch.Tensor,
) -> None:
    """As `project_up`, for slots that `dispatch` or `sort_slots` has sorted."""
    assert weights.paired
    arguments = _arguments(x, slots, weights, bias, out, len(x))
    arguments.out_stride, arguments.alpha, arguments.limit = out.shape[1], alpha, limit
    _launch("routed_up", slots, arguments)


def routed_down(
    inner: torch.Tensor,
    slots: Slots,
    weights: RelaidMxfp4,
    bias: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """As `project_down`. Must be enqueued right behind `routed_up`: it reads slots before it waits.

    Args:
        inner: What `routed_up` gave.
        slots: The same.
        weights: Not paired, (experts, hidden, ffn).
        bias: bfloat16 (experts, hidden).
        out: float32 (top_k, tokens, hidden): part i is what a token's i-th expert says, times its
            weight. Rows of tokens that go nowhere are left as they are.
    """
    assert not weights.paired
    top_k, tokens, _ = out.shape
    assert top_k * tokens == len(inner), (out.shape, inner.shape)
    _launch("routed_down", slots, _arguments(inner, slots, weights, bias, out, tokens))


def _arguments(
    x: torch.Tensor, slots: Slots, weights: RelaidMxfp4, bias: torch.Tensor, out: torch.Tensor,
    tokens: int,
) -> ctypes.Structure:  # fmt: skip
    _, tiles, units, _ = weights.blocks.shape
    assert x.shape[1] == units * UNIT_COLUMNS, (x.shape, units)
    return Routed(
        blocks=address(weights.blocks), scales=address(weights.scales), bias=address(bias),
        x=address(x), y=address(out), slots=address(slots.order), items=address(slots.items),
        num_items=address(slots.num_items), weights=address(slots.weights), tokens=tokens,
        top_k=len(slots.ids) // tokens, tiles=tiles, units=units, rows=bias.shape[1],
    )  # fmt: skip


def _launch(name: str, slots: Slots, arguments: ctypes.Structure) -> None:
    variant = VARIANTS[slots.width]
    unit = variant.warps * _WEIGHT_BYTES + slots.width * _OPERAND_BYTES
    kernel = program("routed.cu", slots.ids.device)[f"{name}_{slots.width}"]
    grid = (-(-arguments.tiles // variant.warps), len(slots.items), 1)
    launch(kernel, grid, variant.warps * 32, variant.stages * unit, arguments)

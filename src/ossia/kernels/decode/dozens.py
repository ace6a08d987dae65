"""run_dozens: all of a layer's chosen experts for up to 24 slots an expert on average in one kernel; Hopper only."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Dozens, address
from ossia.kernels.decode.experts import both_matrices
from ossia.kernels.decode.launching import BLOCK_SHARED_BYTES, is_hopper, multiprocessors
from ossia.kernels.decode.routed import Slots
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS, whole_units

WIDTH = 24
"""Slots that an item has at most."""
_MEAN = 24  # slots of an expert on average up to which this is the fastest way, as measured with gpt-oss-20b on an H200
_GROUPS, _EACH, _MOST_STAGES = 4, 3, 4  # of dozens.cu
_UNITS = _EACH * _GROUPS
_THREADS = (_GROUPS + 2) * 128
_STAGE_BYTES = 4 * _UNITS * 512
_ALIGNMENT = 1024  # of the operands in shared memory


def fits(
    tokens: int, top_k: int, experts: int, sizes: tuple[int, int], device: torch.device
) -> bool:
    """Whether a device runs the kernel for experts of such sizes, hidden and ffn, and tokens are as few as it is for."""
    return (
        is_hopper(device)
        and tokens * top_k <= _MEAN * experts
        and _stages([whole_units(size) // UNIT_COLUMNS for size in sizes]) > 1
    )


def run_dozens(
    x: torch.Tensor,
    slots: Slots,
    weights: tuple[RelaidMxfp4, RelaidMxfp4],
    biases: tuple[torch.Tensor, torch.Tensor],
    alpha: float,
    limit: float,
    inner: torch.Tensor,
    out: torch.Tensor,
    arrivals: torch.Tensor,
) -> None:
    """kernels.moe.reference.run_experts, as `several.run_several`, which must not run at the same time either.

    Args:
        x: There, too, but with its columns in the order of `wide.operand_places`.
        slots: Sorted by `dispatch` or `sort_slots`, in items of WIDTH.
        weights: As there, like all that follow; `inner` has its columns in that order, too.
        biases: Of both.
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
        inner: Scratch.
        out: float32 (top_k, tokens, hidden), whose sum is the result.
        arrivals: The same.
    """
    up, down = both_matrices(x, weights, biases, inner, out)
    top_k, tokens, _ = out.shape
    assert slots.width == WIDTH, slots.width
    assert len(slots.ids) == tokens * top_k, len(slots.ids)
    units = up.units, down.units
    stages = _stages(units)
    assert stages > 1, units
    arguments = Dozens(
        up=up, down=down, x=address(x), inner=address(inner), y=address(out), slots=address(slots.order),
        items=address(slots.items), num_items=address(slots.num_items), weights=address(slots.weights),
        arrivals=address(arrivals), tokens=tokens, top_k=top_k, stages=stages,
        alpha=alpha, limit=limit,
    )  # fmt: skip
    kernel = program("dozens.cu", x.device)["dozens"]
    shared = _fixed_bytes(max(units)) + stages * _STAGE_BYTES
    launch(kernel, (multiprocessors(x.device), 1, 1), _THREADS, shared, arguments)


def _fixed_bytes(units: int) -> int:
    """Operands of an item, a quad's sums, two quads' scales, which are read up to a stage further than they go."""
    operands, sums = WIDTH * units * 2 * UNIT_COLUMNS, WIDTH * _GROUPS * 64 * 4
    return _ALIGNMENT + operands + sums + (2 * 4 * units + _UNITS) * 32


def _stages(units: Sequence[int]) -> int:
    """As many as there is room for, but no more than a quad has and one."""
    room = (BLOCK_SHARED_BYTES - _fixed_bytes(max(units))) // _STAGE_BYTES
    return min(_MOST_STAGES, room, -(-min(units) // _UNITS) + 1)

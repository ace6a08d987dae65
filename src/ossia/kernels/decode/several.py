"""run_several: all of a layer's chosen experts for one to some dozens of tokens in one kernel; Hopper only."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Several, address
from ossia.kernels.decode.experts import MAX_EXPERTS, MAX_TOP_K, RoutedStep, both_matrices
from ossia.kernels.decode.launching import BLOCK_SHARED_BYTES, TILE_ROWS, is_hopper, multiprocessors
from ossia.kernels.decode.routed import Slots
from ossia.kernels.mxfp4 import RelaidMxfp4
from ossia.kernels.mxfp4.relaid import UNIT_COLUMNS

CHOOSING_TOKENS = 8
"""Up to which blocks find by themselves what the router has chosen; more tokens' slots are sorted before."""
WIDTHS = {8: 6, 16: 10}
"""By slots that an item has at most: slots of an expert on average up to which that is the best, as measured with gpt-oss-20b on an H200."""
_WARPS, _UNITS, _SUMMING, _MOST_STAGES, _UNIT_BYTES = 15, 3, 4, 16, 544  # of several.cu
_THREADS = (_WARPS + 1 + _SUMMING) * 32
_ALIGNMENT = 128  # of a stage
_FLIGHT = 2  # stages on their way at once: enough for all the bandwidth, no more


def fits(
    tokens: int, top_k: int, experts: int, sizes: tuple[int, int], device: torch.device
) -> bool:
    """Whether a device runs the kernel for experts of such sizes, hidden and ffn, and tokens are as few as it is for."""
    return (
        is_hopper(device)
        and (tokens <= CHOOSING_TOKENS or tokens * top_k <= max(WIDTHS.values()) * experts)
        and max(sizes) <= _WARPS * _UNITS * UNIT_COLUMNS
    )


def width_for(slots: int, experts: int) -> int:
    """Slots of an item at most, where so many go to so many experts."""
    return next(width for width, mean in WIDTHS.items() if slots <= mean * experts)


def run_several(
    x: torch.Tensor,
    routed: RoutedStep | Slots,
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
        x: bfloat16 times X_SCALE (tokens, units * 64), zeros from hidden on.
        routed: The choice of experts: of up to CHOOSING_TOKENS the router's word, of any number slots that
            `dispatch` or `sort_slots` has sorted, in items of one of WIDTHS.
        weights: Paired (experts, 2 ffn, hidden), and not paired (experts, hidden, ffn).
        biases: bfloat16 (experts, 2 ffn), gate and up interleaved, and (experts, hidden).
        alpha: Steepness of the gate's sigmoid.
        limit: Clamp.
        inner: bfloat16 (tokens * top_k, units * 64), scratch whose columns from ffn on are zeros.
        out: float32 (top_k, tokens, hidden), whose sum is the result; rows of tokens that go nowhere are
            left as they are.
        arrivals: int64 (1,), zero at first, then left alone.
    """
    up, down = both_matrices(x, weights, biases, inner, out)
    top_k, tokens, _ = out.shape
    assert max(up.units, down.units) <= _WARPS * _UNITS, (up.units, down.units)
    stage = -(-max(up.units, down.units) * _UNIT_BYTES // _ALIGNMENT) * _ALIGNMENT
    width = routed.width if isinstance(routed, Slots) else CHOOSING_TOKENS
    sums = _WARPS * width * TILE_ROWS * 4
    stages = min(_MOST_STAGES, BLOCK_SHARED_BYTES // (stage + sums))
    arguments = Several(
        up=up, down=down, x=address(x), inner=address(inner), y=address(out),
        arrivals=address(arrivals), tokens=tokens, top_k=top_k, stages=stages, stage=stage, flight=_FLIGHT,
        alpha=alpha, limit=limit,
    )  # fmt: skip
    if isinstance(routed, Slots):
        assert width in WIDTHS, width
        assert len(routed.ids) == tokens * top_k, len(routed.ids)
        arguments.slots, arguments.items = address(routed.order), address(routed.items)
        arguments.num_items, arguments.weights = address(routed.num_items), address(routed.weights)
        name = f"several_{width}"
    else:
        assert tokens <= CHOOSING_TOKENS, tokens
        assert routed.logits.shape[0] == tokens, routed.logits.shape
        assert routed.bias is None
        arguments.logits, arguments.positions = address(routed.logits), address(routed.positions)
        arguments.experts = experts = routed.logits.shape[1]
        assert experts <= MAX_EXPERTS, experts
        assert routed.top_k == top_k <= MAX_TOP_K, (routed.top_k, top_k)
        name = f"several_choosing_{width}"
    kernel = program("several.cu", x.device)[name]
    launch(kernel, (multiprocessors(x.device), 1, 1), _THREADS, stages * (stage + sums), arguments)

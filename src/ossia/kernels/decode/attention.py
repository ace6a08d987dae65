"""attend_one: attention of one new token a sequence over keys in pages."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Attention, address
from ossia.kernels.decode.launching import is_hopper, multiprocessors
from ossia.kernels.fp8 import FP8

HEAD_DIM = 64
MAX_GROUP = 8  # query heads that share a key head
_KERNELS = {torch.bfloat16: "attention", FP8: "attention_fp8"}
_WARPS = ((96, 2), (48, 4), (0, 8))  # from so many sequences on, warps of a block; Hopper only
_MOST_WARPS = 8
_STAGED_BYTES = 2 * 4096  # in shared memory for each warp of a block that has fewer
_MAX_SHARES = 64
_SCRATCH = MAX_GROUP * (HEAD_DIM + 2)  # floats of a share


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedStep:
    """Where a step's sequences are and where their keys lie.

    Args:
        positions: int32 (tokens,) of the new tokens; negative where there is none.
        table: int32 (tokens, groups, width): page numbers, at most as many as the tensor holds.
        width: int32 (1,): the row length of the table, read on the device.
        groups: Groups of layers that have tables of their own.
        rope: float32 (tokens, 2, 32).
        scratch: float32 (tokens, kv_heads, shares, 528), used between blocks.
        arrivals: int32 (tokens, kv_heads), zeros before and after.
    """

    positions: torch.Tensor
    table: torch.Tensor
    width: torch.Tensor
    groups: int
    rope: torch.Tensor
    scratch: torch.Tensor
    arrivals: torch.Tensor

    @staticmethod
    def scratch_shape(tokens: int, kv_heads: int, shares: int) -> tuple[int, ...]:
        """Shape of `scratch`."""
        return (tokens, kv_heads, shares, _SCRATCH)


def num_shares(tokens: int, kv_heads: int, device: torch.device) -> int:
    """Into how many shares the keys of a long sequence are cut, so that the device is full."""
    wanted = -(-2 * multiprocessors(device) // (tokens * kv_heads))
    return max(1, min(_MAX_SHARES, wanted))


def attend_one(
    qkv: torch.Tensor,
    biases: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
    sinks: torch.Tensor,
    pages: tuple[torch.Tensor, torch.Tensor],
    step: PagedStep,
    group: int,
    window: int | None,
    out: torch.Tensor,
) -> None:
    """Bias, rope, KV write and attention: kernels.rope, kv_write and attention.attend_paged.

    Args:
        qkv: float32 (parts, tokens, (heads + 2 kv_heads) * 64): what the product left.
        biases: bfloat16 of q, k and v, or None.
        sinks: bfloat16 (heads,).
        pages: Keys and values, bfloat16 or float8_e4m3fn (pages, page_size, kv_heads, 64); the new ones are
            written, as `kernels.fp8` rounds, and count as they are then.
        step: Where everything is.
        group: Which of the tables is meant.
        window: Keys that a query may see, itself included; None for all.
        out: bfloat16 (tokens, heads * 64).
    """
    keys, values = pages
    parts, tokens, _ = qkv.shape
    _, page_size, kv_heads, head_dim = keys.shape
    heads = len(sinks)
    assert head_dim == HEAD_DIM, head_dim
    assert keys.dtype is values.dtype, (keys.dtype, values.dtype)
    assert heads <= MAX_GROUP * kv_heads, (heads, kv_heads)
    arguments = Attention(
        qkv=address(qkv), bias=tuple(map(address, biases)), rope=address(step.rope),
        sinks=address(sinks), positions=address(step.positions), table=address(step.table),
        width=address(step.width), keys=address(keys), values=address(values), out=address(out),
        scratch=address(step.scratch), arrivals=address(step.arrivals), tokens=tokens, parts=parts,
        heads=heads, kv_heads=kv_heads, page_size=page_size, window=window or 0,
        groups=step.groups, group=group,
    )  # fmt: skip
    # A window within the least share of a block needs no second one.
    shares = 1 if window is not None and window <= 256 else step.scratch.shape[2]
    warps = _MOST_WARPS
    if is_hopper(qkv.device):  # elsewhere there is less shared memory, and nothing was measured
        warps = next(warps for least, warps in _WARPS if tokens >= least)
    kernel = program("attention.cu", qkv.device)[f"{_KERNELS[keys.dtype]}_{warps}"]
    shared = warps * _STAGED_BYTES if warps < _MOST_WARPS else 0
    # Second shares, which few sequences have, begin behind all first ones.
    launch(kernel, (kv_heads, tokens, shares), warps * 32, shared, arguments)

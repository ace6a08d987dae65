"""argmax: greedy choice, fed back for the next step."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Argmax, address

_THREADS = 256
SLICES = 64
"""Blocks that look at one row."""


def argmax(
    logits: torch.Tensor,
    end: int,
    ids: torch.Tensor,
    positions: torch.Tensor,
    out: torch.Tensor,
    scratch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """The largest logit's id, the lowest among equals: kernels.sampling.draw_greedy.

    Args:
        logits: float32 (tokens, vocab).
        end: Ids from here on are not looked at.
        ids: int32 (tokens,): overwritten where the position is not negative.
        positions: int32 (tokens,): advanced by one where not negative.
        out: int32 (2, tokens): ids, and the bits of their logits; NaN if a row holds NaN.
        scratch: int64 (tokens, SLICES), and int32 (tokens,) of zeros, zeros again afterwards.
    """
    tokens, vocab = logits.shape
    best, arrivals = scratch
    arguments = Argmax(
        logits=address(logits), best=address(best), arrivals=address(arrivals), ids=address(ids),
        positions=address(positions), out=address(out), tokens=tokens, vocab=vocab, end=end,
    )  # fmt: skip
    launch(
        program("argmax.cu", logits.device)["argmax"], (SLICES, tokens, 1), _THREADS, 0, arguments
    )

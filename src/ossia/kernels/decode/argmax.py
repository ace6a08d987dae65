"""argmax: greedy choice, fed back for the next step."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Argmax, address

_THREADS = 256
_MOST_SLICES, _LEAST_SLICES, _BLOCKS = 64, 8, 4096


def num_slices(tokens: int, *, evenly: bool = False) -> int:
    """Blocks that look at one row: few where there are rows enough to fill a device; `evenly`, always as many."""
    if evenly:
        return _MOST_SLICES
    return max(_LEAST_SLICES, min(_MOST_SLICES, _BLOCKS // tokens))


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
        out: int32 (2, 2, tokens), on the device or in pinned memory of the host. At the parity of a row's
            position: its id, and the bits of its logit; NaN if the row holds NaN. So two steps, one
            behind the other, leave their results at different places. Rows at no position leave nothing.
        scratch: int64 (tokens, slices), and int32 (tokens,) of zeros, zeros again afterwards. As many
            blocks as slices look at a row.
    """
    tokens, vocab = logits.shape
    assert out.shape == (2, 2, tokens), out.shape
    best, arrivals = scratch
    arguments = Argmax(
        logits=address(logits), best=address(best), arrivals=address(arrivals), ids=address(ids),
        positions=address(positions), out=address(out), tokens=tokens, vocab=vocab, end=end,
    )  # fmt: skip
    grid = (best.shape[1], tokens, 1)
    launch(program("argmax.cu", logits.device)["argmax"], grid, _THREADS, 0, arguments)

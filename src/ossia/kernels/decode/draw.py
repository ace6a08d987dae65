"""draw: a token of each row by chance, or the most likely one, fed back for the next step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Draw, address
from ossia.kernels.sampling.reference import MIN_TEMPERATURE

_THREADS, _MOST_SLICES = 256, 64  # of draw.cu
_CHANCE = np.dtype(
    [("seed", "<u8"), ("continuation", "<u4"), ("first", "<i4"), ("coldness", "<f4")]
)
CHANCE_NUMBERS = _CHANCE.itemsize // 4
"""int32 numbers that a row's chance is."""


def chances(
    seeds: Sequence[int],
    continuations: Sequence[int],
    firsts: Sequence[int],
    temperatures: Sequence[float],
) -> npt.NDArray[np.int32]:
    """How rows' tokens are drawn, from all valid ids, as draw.cu declares it.

    Args:
        seeds: As `engine.randomness.uniform` takes them, as are `continuations`.
        continuations: See seeds.
        firsts: The positions of the tokens behind which the first outputs are drawn.
        temperatures: Where one is 0 the most likely token is taken; the others are ignored there.

    Returns:
        (rows, CHANCE_NUMBERS).
    """
    rows, hot = np.zeros(len(seeds), _CHANCE), np.array(temperatures, np.float64)
    rows["seed"], rows["continuation"], rows["first"] = seeds, continuations, firsts
    rows["coldness"] = 1 / np.maximum(hot, MIN_TEMPERATURE)
    rows[hot == 0] = 0
    return rows.view(np.int32).reshape(len(rows), CHANCE_NUMBERS)


def draw(
    logits: torch.Tensor,
    end: int,
    chances: torch.Tensor,
    ids: torch.Tensor,
    positions: torch.Tensor,
    out: torch.Tensor,
    scratch: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """kernels.sampling.sample of rows that are drawn from all ids, or greedily.

    The number in [0, 1) that draws a row's token is `engine.randomness.uniform` of its seed, its continuation, and how
    far its position is behind `first`. It is hashed here, so that steps may follow each other without the host.

    Args:
        logits: float32 (tokens, vocab).
        end: Ids from here on are not looked at.
        chances: int32 (tokens, CHANCE_NUMBERS), as the function of that name gives them.
        ids: As `argmax` takes it, like positions and out.
        positions: See ids.
        out: See ids; beside the id stand the bits of the row's largest logit.
        scratch: int64 (tokens, slices), float64 (tokens, slices), float64 (tokens,), and int32 (tokens,) of
            zeros, zeros again afterwards. As many blocks as slices look at a row.
    """
    tokens, vocab = logits.shape
    best, weights, uniforms, arrivals = scratch
    assert out.shape == (2, 2, tokens), out.shape
    assert chances.shape == (tokens, CHANCE_NUMBERS), chances.shape
    assert best.shape == weights.shape, (best.shape, weights.shape)
    assert best.shape[1] <= _MOST_SLICES, best.shape
    arguments = Draw(
        logits=address(logits), chances=address(chances), best=address(best), weights=address(weights),
        uniforms=address(uniforms), arrivals=address(arrivals), ids=address(ids),
        positions=address(positions), out=address(out), tokens=tokens, vocab=vocab, end=end,
    )  # fmt: skip
    grid = (best.shape[1], tokens, 1)
    launch(program("draw.cu", logits.device)["draw"], grid, _THREADS, 0, arguments)

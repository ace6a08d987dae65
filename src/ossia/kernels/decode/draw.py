"""draw, draw_once: a token of each row by chance, or the most likely one; `draw` feeds it back for the next step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.argmax import num_slices
from ossia.kernels.decode.arguments import Draw, address
from ossia.kernels.temperature import MIN_TEMPERATURE
from ossia.kernels.uploads import send

_WEIGHERS, _DRAWERS, _MOST_SLICES = 256, 512, 64  # of draw.cu
_CHANCE = np.dtype(
    [
        ("seed", "<u8"), ("continuation", "<u4"), ("first", "<i4"), ("coldness", "<f4"),
        ("top_k", "<u4"), ("top_p", "<f4"), ("reach", "<f4"), ("set", "<u4"),
    ]
)  # fmt: skip
CHANCE_NUMBERS = _CHANCE.itemsize // 4
"""int32 numbers that a row's chance is."""


class Chance(NamedTuple):
    """How a row's tokens are drawn, one step after the other.

    Args:
        seed: As `engine.randomness.uniform` takes it, as is `continuation`.
        continuation: See seed.
        first: The position of the token behind which the first output is drawn.
        temperature: Where it is 0 the most likely token is taken, and what follows is ignored.
        top_k: These as `kernels.sampling.truncate` takes them.
        top_p: See top_k.
        min_p: See top_k.
    """

    seed: int
    continuation: int
    first: int
    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def chances(rows: Iterable[Chance]) -> npt.NDArray[np.int32]:
    """Rows' chances as draw.cu declares them, of all valid ids.

    Returns:
        (rows, CHANCE_NUMBERS).
    """
    told = np.array([_told(row) for row in rows], _CHANCE)
    return told.view(np.int32).reshape(len(told), CHANCE_NUMBERS)


def of_sets(chances: npt.NDArray[np.int32], sets: Sequence[int | None]) -> npt.NDArray[np.int32]:
    """The same, of the ids of a set each.

    Args:
        chances: (rows, CHANCE_NUMBERS).
        sets: Which of the `sets` that `draw` gets; None for all valid ids.

    Returns:
        (rows, CHANCE_NUMBERS), new.
    """
    told = chances.copy()
    told[:, -1] = [0 if one is None else one + 1 for one in sets]
    return told


def _told(row: Chance) -> tuple[float, ...]:
    if row.temperature == 0:
        return row.seed, row.continuation, row.first, 0, 0, 1, math.inf, 0
    coldness = 1 / max(row.temperature, MIN_TEMPERATURE)
    reach = -math.log(row.min_p) if row.min_p else math.inf
    top_k = min(row.top_k, 2**32 - 1)
    return row.seed, row.continuation, row.first, coldness, top_k, row.top_p, reach, 0


def draw(
    logits: torch.Tensor,
    end: int,
    chances: torch.Tensor,
    ids: torch.Tensor,
    positions: torch.Tensor,
    out: torch.Tensor,
    scratch: tuple[torch.Tensor, torch.Tensor],
    sets: torch.Tensor,
) -> None:
    """kernels.sampling.sample of rows of which no more is asked than a Chance says.

    Where `top_k`, `top_p` or `min_p` ends among them, ids count as equally likely whose logits over the temperature are
    less than 2^-27 apart, or all more than 32 below the largest.

    The number in [0, 1) that draws a row's token is `engine.randomness.uniform` of its seed, its continuation, and how
    far its position is behind `first`. It is hashed here, so that steps may follow each other without the host.

    Args:
        logits: float32 (tokens, vocab).
        end: Ids from here on are not looked at.
        chances: int32 (tokens, CHANCE_NUMBERS), as the function of that name gives them.
        ids: As `argmax` takes it, like positions and out.
        positions: See ids.
        out: See ids; beside the id stand the bits of the row's largest logit.
        scratch: int64 (tokens, slices) and float64 (tokens, slices). As many blocks as slices look at a row.
        sets: uint8 (any number, at least end / 8): bit i % 8 of byte i // 8 says that id i belongs to a set.
    """
    assert chances.shape == (len(logits), CHANCE_NUMBERS), chances.shape
    assert sets.shape[1] * 8 >= end, (sets.shape, end)
    _launch(
        logits,
        (ids, positions, out),
        scratch,
        chances=address(chances),
        sets=address(sets),
        end=end,
        set_bytes=sets.shape[1],
    )


def draw_once(
    logits: torch.Tensor, rows: Sequence[Chance], uniforms: Sequence[float], *, evenly: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """`draw` of rows that belong to no step, from all ids, by numbers that are given.

    Args:
        logits: float32 (tokens, vocab), contiguous.
        rows: How each is drawn; seeds, continuations and positions are not looked at.
        uniforms: Of each row, in [0, 1).
        evenly: Whether a row's sums are cut in the same way however many rows there are.

    Returns:
        int64 (tokens,): ids. float32 (tokens,): the rows' largest logits, NaN where there is a NaN.
    """
    tokens, vocab = logits.shape
    told = chances(rows)
    numbers = np.array(uniforms, np.float64).view(np.int32)
    # One copy to the device; positions are zeros.
    given = np.concatenate((numbers, told.ravel(), np.zeros(tokens, np.int32)))
    on_device = send(torch.from_numpy(given), logits.device)
    drawn_by, how, positions = on_device.split((2 * tokens, told.size, tokens))
    ids, out = on_device.new_empty(tokens), on_device.new_empty(2, 2, tokens)
    slices = num_slices(tokens, evenly=evenly)
    scratch = (
        torch.empty(tokens, slices, dtype=torch.int64, device=logits.device),
        torch.empty(tokens, slices, dtype=torch.float64, device=logits.device),
    )
    _launch(
        logits,
        (ids, positions, out),
        scratch,
        chances=address(how),
        uniforms=address(drawn_by),
        end=vocab,
        overlap=False,
    )
    return ids.long(), out[0, 1].view(torch.float32)


def _launch(
    logits: torch.Tensor,
    fed_back: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    scratch: tuple[torch.Tensor, torch.Tensor],
    *,
    overlap: bool = True,
    **given: int | None,
) -> None:
    """Enqueue both kernels.

    They read chances, numbers and positions before they wait for what was enqueued in front of them, so with `overlap`
    these must have been there before that.
    """
    tokens, vocab = logits.shape
    (ids, positions, out), (best, weights) = fed_back, scratch
    slices = best.shape[1]
    assert out.shape == (2, 2, tokens), out.shape
    assert best.shape == weights.shape, (best.shape, weights.shape)
    assert slices <= _MOST_SLICES, slices
    arguments = Draw(
        logits=address(logits), best=address(best), weights=address(weights), ids=address(ids),
        positions=address(positions), out=address(out), tokens=tokens, vocab=vocab, slices=slices, **given,
    )  # fmt: skip
    kernels = program("draw.cu", logits.device)
    launch(kernels["weigh"], (slices, tokens, 1), _WEIGHERS, 0, arguments, overlap=overlap)
    launch(kernels["draw"], (tokens, 1, 1), _DRAWERS, 0, arguments)

"""Sampling by the kernels that draw at the end of a step, kernels/csrc/cuda/draw.cu."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.kernels.decode.draw import Chance, draw_once
from ossia.kernels.sampling.drawing import Drawing


def sample(
    logits: torch.Tensor, drawings: Sequence[Drawing | None], *, evenly: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `reference.sample`; what the other rows hold plays no part in a row's token.

    Args:
        logits: float32 (rows, vocab) on a GPU, contiguous.
        drawings: One a row; None takes the most likely token.
        evenly: Whether how many rows there are plays no part either.
    """
    assert len(drawings) == len(logits)
    return draw_once(
        logits,
        [_chance(drawing) for drawing in drawings],
        [0.0 if drawing is None else drawing.uniform for drawing in drawings],
        evenly=evenly,
    )


def _chance(drawing: Drawing | None) -> Chance:
    if drawing is None:
        return Chance(0, 0, 0, temperature=0)
    return Chance(
        0, 0, 0, drawing.temperature, drawing.top_k, drawing.top_p, drawing.min_p
    )  # the number is given

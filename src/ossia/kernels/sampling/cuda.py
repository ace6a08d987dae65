"""Sampling by the kernels that draw at the end of a step, kernels/csrc/cuda/draw.cu."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.kernels.decode.draw import Chance, draw_once
from ossia.kernels.sampling.drawing import Drawing


def sample(
    logits: torch.Tensor, drawings: Sequence[Drawing | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `reference.sample`; a row's token does not depend on what the other rows hold.

    Args:
        logits: float32 (rows, vocab) on a GPU, contiguous.
        drawings: One a row; None takes the most likely token.
    """
    assert len(drawings) == len(logits)
    return draw_once(
        logits,
        [_chance(drawing) for drawing in drawings],
        [0.0 if drawing is None else drawing.uniform for drawing in drawings],
    )


def _chance(drawing: Drawing | None) -> Chance:
    if drawing is None:
        return Chance(0, 0, 0, temperature=0)
    return Chance(
        0, 0, 0, drawing.temperature, drawing.top_k, drawing.top_p, drawing.min_p
    )  # the number is given

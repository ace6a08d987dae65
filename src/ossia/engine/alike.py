"""Draws and log-probabilities of rows that have the same bits whatever rows lie beside them.

torch cuts a sum over a row into parts by how many rows there are. So there are always as many here; rows
that are missing are zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.kernels.sampling import Drawing, sample, samples_row_by_row, token_logprobs

_FROM_ALL = Drawing(temperature=1.0, uniform=0.0)


def sample_alike(
    logits: torch.Tensor, drawings: Sequence[Drawing | None], rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """As kernels.sampling.sample.

    Args:
        logits: (any number of rows, vocab).
        drawings: One a row; None takes the most likely token.
        rows: That are looked at side by side. On CUDA at least 2: the cumulated sum of a single row
            is not the same from run to run.
    """
    if samples_row_by_row(logits):
        return sample(logits, drawings, evenly=True)
    best, peaks = sample(logits, [None] * len(drawings))  # comparisons; nothing is added up
    drawn = [row for row, drawing in enumerate(drawings) if drawing is not None]
    for first in range(0, len(drawings), rows):
        these = range(first, min(first + rows, len(drawings)))
        if not any(drawings[row] for row in these):
            continue
        filled = [drawings[row] or _FROM_ALL for row in these]
        filled += [_FROM_ALL] * (rows - len(these))
        ids, _ = sample(_filled(logits[first : first + rows], rows), filled, evenly=True)
        chosen = [row for row in drawn if row in these]
        best[chosen] = ids[[row - first for row in chosen]]
    return best, peaks


def token_logprobs_alike(
    logits: torch.Tensor, token_ids: torch.Tensor, num_top: int, rows: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As kernels.sampling.token_logprobs.

    Args:
        logits: (any number of rows, vocab).
        token_ids: One a row.
        num_top: Of the most likely tokens to report.
        rows: As for `sample_alike`.
    """
    parts: list[tuple[torch.Tensor, ...]] = []
    for first in range(0, len(logits), rows):
        some, ids = logits[first : first + rows], token_ids[first : first + rows]
        scored = token_logprobs(_filled(some, rows), _filled(ids, rows), num_top)
        parts.append(tuple(one[: len(some)] for one in scored))
    chosen, top, top_ids = (torch.cat(one) for one in zip(*parts, strict=True))
    return chosen, top, top_ids


def _filled(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """With zeros behind, (rows, ...)."""
    if len(tensor) == rows:
        return tensor
    filled = tensor.new_zeros(rows, *tensor.shape[1:])
    filled[: len(tensor)] = tensor
    return filled

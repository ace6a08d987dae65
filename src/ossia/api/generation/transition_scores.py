"""transition_scores: of all the scores that `generate` returns, those of the chosen tokens."""

from __future__ import annotations

import torch


def transition_scores(
    sequences: torch.Tensor,
    scores: tuple[torch.Tensor, ...],
    beam_indices: torch.Tensor | None,
    normalize: bool,
) -> torch.Tensor:
    """Pick the score of each new token.

    Args:
        sequences: int64 (rows, seq).
        scores: For each step (rows or beams, vocab).
        beam_indices: int (rows, new): row of the step's scores for each token, -1 behind the end.
        normalize: Make each step's scores log-probabilities first.

    Returns:
        (rows, new); 0 behind a beam's end.
    """
    stacked = torch.stack(scores)  # (steps, score rows, vocab)
    if normalize:
        stacked = stacked.log_softmax(dim=-1)
    if beam_indices is None:
        rows = torch.arange(stacked.shape[1], device=sequences.device)[:, None]
        beam_indices = rows.expand(-1, len(scores))
    longest = int((beam_indices >= 0).sum(dim=1).max())
    sources = beam_indices[:, :longest].long()  # (rows, new)
    tokens = sequences[:, sequences.shape[1] - longest :]
    steps = torch.arange(longest, device=sequences.device).expand_as(sources)
    picked = stacked[steps, sources.clamp(min=0), tokens]
    return picked.masked_fill(sources < 0, 0.0)

"""Log-probabilities of what a step draws, computed behind it and before the next one overwrites its logits."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass

import torch

from ossia.engine.sequence import Sequence
from ossia.kernels.sampling import token_logprobs
from ossia.kernels.uploads import upload
from ossia.model.decode_step import StepOutput
from ossia.types import TokenLogprob


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows of steps whose tokens' log-probabilities are asked for.

    Args:
        counts: By row, how many of the most likely tokens are reported beside its own.
        index: int64 (len(counts),): the rows, on the device.
    """

    counts: dict[int, int]
    index: torch.Tensor


def scored_rows(sequences: Several[Sequence], device: torch.device) -> ScoredRows | None:
    """Of sequences in this order; None if nobody asks."""
    counts = {
        row: sequence.request.sampling.logprobs
        for row, sequence in enumerate(sequences)
        if sequence.request.sampling.logprobs is not None
    }
    return ScoredRows(counts, upload(list(counts), device)) if counts else None


def score(rows: ScoredRows, output: StepOutput, valid_end: int) -> torch.Tensor:
    """Enqueue what `read_scores` takes; nothing is waited for.

    Args:
        rows: Whose.
        output: Of a step that was enqueued last.
        valid_end: Ids from here on are never drawn, and have no probability.

    Returns:
        float32 (len(rows.counts), 1 + 2 n) on the host, once the device has come so far: of the token that was drawn,
        of the n most likely ones, and their ids.
    """
    logits = output.logits.index_select(0, rows.index)
    logits[:, valid_end:] = -torch.inf
    drawn = output.ids.index_select(0, rows.index).long()
    vocab = logits.shape[1]
    assert vocab <= 2**24, "ids travel as float32"
    chosen, top, top_ids = token_logprobs(logits, drawn, min(max(rows.counts.values()), vocab))
    told = torch.cat((chosen[:, None], top, top_ids.float()), dim=1)
    if not told.is_cuda:
        return told
    return torch.empty_like(told, device="cpu", pin_memory=True).copy_(told, non_blocking=True)


def read_scores(
    rows: ScoredRows, scores: torch.Tensor, token_ids: dict[int, int]
) -> dict[int, TokenLogprob]:
    """Of some rows, by row.

    Args:
        rows: As `score` had them.
        scores: What it has returned, arrived.
        token_ids: What was drawn, by row; others are left out.
    """
    num_top = scores.shape[1] // 2
    read: dict[int, TokenLogprob] = {}
    for (row, count), (chosen, *rest) in zip(rows.counts.items(), scores.tolist(), strict=True):
        if row in token_ids:
            best = zip(map(int, rest[num_top:]), rest[: min(count, num_top)], strict=False)
            read[row] = TokenLogprob(token_ids[row], chosen, tuple(best))
    return read

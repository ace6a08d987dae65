"""Processors that keep a text from repeating itself."""

from __future__ import annotations

import torch

from ossia.api.generation.logits_processors import LogitsProcessor, whole
from ossia.errors import RequestError


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Tokens that were seen become less likely.

    Positive scores are divided, negative ones multiplied (Keskar et al. 2019, arXiv:1909.05858,
    section 4.1).

    Args:
        penalty: Above 0; above 1 punishes.
        prompt_ignore_length: Leading ids that do not count: a number, or one for each row (rows,)
            such as the length of its padding.
    """

    def __init__(
        self, penalty: float, prompt_ignore_length: int | torch.Tensor | None = None
    ) -> None:
        if not (isinstance(penalty, int | float) and penalty > 0):
            raise RequestError(f"{penalty!r} is not a number above 0", field="penalty")
        if isinstance(prompt_ignore_length, int):
            whole("prompt_ignore_length", prompt_ignore_length)
        self.penalty = float(penalty)
        self.prompt_ignore_length = prompt_ignore_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        vocab = scores.shape[-1]
        seen = torch.zeros(len(scores), vocab + 1, dtype=torch.bool, device=scores.device)
        seen.scatter_(1, self._counted(input_ids, vocab), True)
        punished = torch.where(scores < 0, scores * self.penalty, scores / self.penalty)
        return torch.where(seen[:, :vocab], punished, scores)

    def _counted(self, input_ids: torch.Tensor, vocab: int) -> torch.Tensor:
        """(rows, seq): what does not count has the id behind the vocabulary."""
        ignored = self.prompt_ignore_length
        if ignored is None:
            return input_ids.clamp(max=vocab)
        start = torch.as_tensor(ignored, device=input_ids.device).reshape(-1, 1)
        if len(start) not in (1, len(input_ids)):
            raise RequestError(
                f"has {len(start)} entries for {len(input_ids)} rows", field="prompt_ignore_length"
            )
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        return input_ids.clamp(max=vocab).masked_fill(places < start, vocab)


class NoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No n-gram twice.

    Args:
        ngram_size: n.
    """

    def __init__(self, ngram_size: int) -> None:
        if not isinstance(ngram_size, int) or ngram_size <= 0:
            raise RequestError(f"{ngram_size!r} is not an integer above 0", field="ngram_size")
        self.ngram_size = ngram_size

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        if input_ids.shape[-1] < self.ngram_size:
            return scores
        ngrams = input_ids.unfold(1, self.ngram_size, 1)  # (rows, places, n)
        end = input_ids[:, input_ids.shape[-1] - self.ngram_size + 1 :]  # (rows, n - 1)
        repeats = (ngrams[..., :-1] == end[:, None]).all(dim=-1)  # (rows, places)
        vocab = scores.shape[-1]
        banned = torch.zeros(len(scores), vocab + 1, dtype=torch.bool, device=scores.device)
        banned.scatter_(1, ngrams[..., -1].clamp(max=vocab).where(repeats, vocab), True)
        return scores.masked_fill(banned[:, :vocab], -torch.inf)

"""Candidates: tokens that are proposed cheaply, for the model to check several at once."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.logits_processors import LogitsProcessorList
from ossia.api.generation.module_steps import last_logits
from ossia.api.generation.sample import choose
from ossia.api.models.cache import DynamicCache


class Proposer(Protocol):
    """What proposes."""

    def propose(self, ids: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Guess how a text goes on.

        Args:
            ids: int64 (1, seq), without padding.
            most: Tokens that may be proposed.

        Returns:
            int64 (1, proposed); the scores they were drawn by (proposed, vocab), or None if they
            were not drawn by chance.
        """
        ...

    def learn(self, num_proposed: int, num_accepted: int) -> None:
        """Be told how good the last guess was."""
        ...


class PromptLookup:
    """Proposes what followed when the text's last tokens came up before.

    Args:
        num_tokens: How many to propose.
        max_ngram: Most last tokens to look for; longer matches are tried first.
    """

    def __init__(self, num_tokens: int, max_ngram: int) -> None:
        self._num_tokens = num_tokens
        self._max_ngram = max_ngram

    def propose(self, ids: torch.Tensor, most: int) -> tuple[torch.Tensor, None]:
        """As Proposer says."""
        row, most = ids[0], min(most, self._num_tokens)
        for size in range(min(self._max_ngram, len(row) - 1), 0, -1):
            places = (row[:-1].unfold(0, size, 1) == row[-size:]).all(dim=1).nonzero()
            if len(places):
                start = int(places[0]) + size
                return ids[:, start : start + most], None
        return ids[:, :0], None

    def learn(self, num_proposed: int, num_accepted: int) -> None:
        """Nothing to learn."""


class Assistant:
    """Proposes what a smaller model says.

    Args:
        model: The smaller one, of the same vocabulary.
        config: Resolved; how many tokens, and when to stop.
        processors: Those of the call, so that both models draw from likewise shaped distributions.
    """

    def __init__(
        self,
        model: Any,
        config: GenerationConfig,
        processors: LogitsProcessorList,
    ) -> None:
        assert config.num_assistant_tokens is not None, "resolved"
        self._model = model
        self._processors = processors
        self._by_chance = bool(config.do_sample)
        self._schedule = config.num_assistant_tokens_schedule
        self._threshold = config.assistant_confidence_threshold or 0.0
        self._num_tokens = config.num_assistant_tokens
        self._cache = DynamicCache()

    def propose(self, ids: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As Proposer says."""
        start, drawn_by = ids.shape[1], list[torch.Tensor]()
        device = self._model.lm_head.weight.device
        # What was taken back must be forgotten, and the last token must be computed in any case.
        self._cache.crop(min(self._cache.get_seq_length(), start - 1))
        for _ in range(min(most, self._num_tokens)):
            new = ids[:, self._cache.get_seq_length() :].to(device)
            output = self._model(
                input_ids=new, past_key_values=self._cache, use_cache=True, logits_to_keep=1
            )
            scores = self._processors(ids, last_logits(output).to(ids.device))  # (1, vocab)
            token = choose(scores, self._by_chance)
            ids = torch.cat((ids, token[:, None]), dim=1)
            drawn_by.append(scores)
            # The unlikely token stays: leaving it out would shift the distribution that is drawn.
            if float(scores.softmax(dim=-1)[0, token]) < self._threshold:
                break
        proposed = ids[:, start:]
        if not self._by_chance or not drawn_by:
            return proposed, None
        return proposed, torch.cat(drawn_by)

    def learn(self, num_proposed: int, num_accepted: int) -> None:
        """Propose more after full success, fewer after anything else."""
        if self._schedule not in ("heuristic", "heuristic_transient"):
            return
        if num_accepted == num_proposed and num_proposed:
            self._num_tokens += 2
        else:
            self._num_tokens = max(1, self._num_tokens - 1)
        if self._schedule == "heuristic":
            self._model.generation_config.num_assistant_tokens = self._num_tokens

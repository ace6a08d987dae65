"""Stopping criteria: what ends a continuation, asked after each token.

Classes of transformers' names and arguments. Subclasses written for transformers work here: a
criterion is called with (ids, scores) and returns a bool for each row, or one for all.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from ossia.api.generation.logits_processors import TokenIds, id_tensor
from ossia.errors import RequestError
from ossia.log import logger, warn_once

_log = logger(__name__)


class StoppingCriteria:
    """Base of what ends continuations."""

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | None,
        **kwargs: Any,
    ) -> Any:
        """Whether continuations have ended.

        Args:
            input_ids: int64 (rows, seq), prompt and output so far; padding included.
            scores: One (rows, vocab) for each token so far; None unless `output_scores` is set.
            kwargs: None today.

        Returns:
            bool (rows,), or one bool for all.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__")


class StoppingCriteriaList(list[Any]):
    """Criteria of which one is enough."""

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Bool (rows,): whether any criterion ends the row; all are asked."""
        ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        for criterion in self:
            answer = criterion(input_ids, scores, **kwargs)
            ended = ended | torch.as_tensor(answer, dtype=torch.bool, device=ended.device)
        return ended

    @property
    def max_length(self) -> int | None:
        """That of the first MaxLengthCriteria."""
        for criterion in self:
            if isinstance(criterion, MaxLengthCriteria):
                return criterion.max_length
        return None


class MaxLengthCriteria(StoppingCriteria):
    """Ends at a length.

    Args:
        max_length: Tokens of prompt and output together.
        max_position_embeddings: The model's context length; going beyond it is logged.
    """

    def __init__(self, max_length: int, max_position_embeddings: int | None = None) -> None:
        self.max_length = max_length
        self.max_position_embeddings = max_position_embeddings

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As StoppingCriteria says."""
        length = input_ids.shape[1]
        if self.max_position_embeddings is not None and length > self.max_position_embeddings:
            warn_once(_log, f"text exceeds the model's {self.max_position_embeddings} positions")
        return _all_rows(input_ids, length >= self.max_length)


class MaxTimeCriteria(StoppingCriteria):
    """Ends after a time; the token being computed is finished first.

    Args:
        max_time: Seconds.
        initial_timestamp: `time.time()` value from which they count; None means now.
    """

    def __init__(self, max_time: float, initial_timestamp: float | None = None) -> None:
        self.max_time = max_time
        self.initial_timestamp = time.time() if initial_timestamp is None else initial_timestamp

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As StoppingCriteria says."""
        return _all_rows(input_ids, time.time() - self.initial_timestamp > self.max_time)


class EosTokenCriteria(StoppingCriteria):
    """Ends behind certain tokens.

    Args:
        eos_token_id: Their ids.
    """

    def __init__(self, eos_token_id: TokenIds) -> None:
        self.eos_token_id = id_tensor("eos_token_id", eos_token_id, "cpu")

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As StoppingCriteria says."""
        return torch.isin(input_ids[:, -1], self.eos_token_id.to(input_ids.device))


class StopStringCriteria(StoppingCriteria):
    """Ends where a string has come up, at the end of the text or inside its last token.

    Args:
        tokenizer: Anything with `decode(ids)`, of the model.
        stop_strings: The strings, none empty.
    """

    def __init__(self, tokenizer: Any, stop_strings: str | list[str]) -> None:
        strings = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)
        if not strings or not all(isinstance(one, str) and one for one in strings):
            raise RequestError(f"{stop_strings!r} holds no strings", field="stop_strings")
        self.tokenizer = tokenizer
        self.stop_strings = tuple(strings)
        # A token is a byte or more, so a string cannot span more tokens than it has bytes. Some
        # more are decoded so that a character cut in two at the front is no matter.
        self._window = max(len(one.encode()) for one in strings) + 4

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As StoppingCriteria says."""
        rows = input_ids[:, -self._window :].tolist()
        ended = [self.ends(ids) for ids in rows]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)

    def ends(self, ids: list[int]) -> bool:
        """Whether the last token brought up one of the strings."""
        ids = ids[-self._window :]
        before, text = self._decode(ids[:-1]), self._decode(ids)
        known = _common_prefix(before, text)
        return any(
            text.find(stop, max(0, known - len(stop) + 1)) >= 0 for stop in self.stop_strings
        )

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids) if ids else ""


def _common_prefix(one: str, other: str) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def _all_rows(input_ids: torch.Tensor, answer: bool) -> torch.Tensor:
    return torch.full((len(input_ids),), answer, dtype=torch.bool, device=input_ids.device)

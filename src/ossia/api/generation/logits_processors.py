"""Logits processors: what changes the scores of the next token before one is chosen.

Classes of transformers' names and arguments. Subclasses written for transformers work here: a
processor is called with (ids, scores) and returns new scores.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ossia.errors import RequestError

TokenIds = int | list[int] | torch.Tensor


class LogitsProcessor:
    """Base of what changes scores."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Change the scores of the next token.

        Args:
            input_ids: int64 (rows, seq), prompt and output so far; padding included.
            scores: float32 (rows, vocab).

        Returns:
            (rows, vocab); the argument itself is left alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__")


class LogitsProcessorList(list[Any]):
    """Processors that are applied one after the other."""

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: torch.Tensor,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Apply all; `kwargs` go to those that take more than ids and scores.

        Raises:
            RequestError: a processor takes a further argument that is not given.
        """
        for processor in self:
            wanted = list(inspect.signature(processor).parameters)[2:]
            taken = {name: kwargs[name] for name in wanted if name in kwargs}
            if any(kind is inspect.Parameter.VAR_KEYWORD for kind in _kinds(processor)):
                taken = kwargs
            scores = processor(input_ids, scores, **taken)
        return scores


def _kinds(processor: Callable[..., object]) -> list[Any]:
    return [one.kind for one in inspect.signature(processor).parameters.values()]


class MinLengthLogitsProcessor(LogitsProcessor):
    """No end token before prompt and output have a length.

    Args:
        min_length: Tokens, the prompt's included.
        eos_token_id: The end tokens.
        device: Of the scores.
    """

    def __init__(
        self, min_length: int, eos_token_id: TokenIds, device: torch.device | str = "cpu"
    ) -> None:
        self.min_length = whole("min_length", min_length)
        self.eos_token_id = id_tensor("eos_token_id", eos_token_id, device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        if input_ids.shape[-1] >= self.min_length:
            return scores
        return without(scores, self.eos_token_id)


class MinNewTokensLengthLogitsProcessor(LogitsProcessor):
    """No end token before the output has a length.

    Args:
        prompt_length_to_skip: Tokens of the prompt.
        min_new_tokens: Tokens of the output.
        eos_token_id: The end tokens.
        device: Of the scores.
    """

    def __init__(
        self,
        prompt_length_to_skip: int,
        min_new_tokens: int,
        eos_token_id: TokenIds,
        device: torch.device | str = "cpu",
    ) -> None:
        self.prompt_length_to_skip = whole("prompt_length_to_skip", prompt_length_to_skip)
        self.min_new_tokens = whole("min_new_tokens", min_new_tokens)
        self.eos_token_id = id_tensor("eos_token_id", eos_token_id, device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        if input_ids.shape[-1] - self.prompt_length_to_skip >= self.min_new_tokens:
            return scores
        return without(scores, self.eos_token_id)


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """Some tokens never.

    Args:
        suppress_tokens: Their ids.
        device: Of the scores.
    """

    def __init__(
        self, suppress_tokens: Iterable[int] | torch.Tensor, device: torch.device | str = "cpu"
    ) -> None:
        self.suppress_tokens = id_tensor("suppress_tokens", suppress_tokens, device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        return without(scores, self.suppress_tokens)


class SuppressTokensAtBeginLogitsProcessor(LogitsProcessor):
    """Some tokens not at one place.

    Args:
        begin_suppress_tokens: Their ids.
        begin_index: Length of the text before that place.
        device: Of the scores.
    """

    def __init__(
        self,
        begin_suppress_tokens: Iterable[int] | torch.Tensor,
        begin_index: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.begin_suppress_tokens = id_tensor(
            "begin_suppress_tokens", begin_suppress_tokens, device
        )
        self.begin_index = begin_index

    def set_begin_index(self, begin_index: int) -> None:
        """Move the place."""
        self.begin_index = begin_index

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        if input_ids.shape[-1] != self.begin_index:
            return scores
        return without(scores, self.begin_suppress_tokens)


class ForcedBOSTokenLogitsProcessor(LogitsProcessor):
    """One token behind a text of one token.

    Args:
        bos_token_id: Its id.
    """

    def __init__(self, bos_token_id: int) -> None:
        self.bos_token_id = bos_token_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        if input_ids.shape[-1] != 1:
            return scores
        return only(scores, torch.tensor([self.bos_token_id], device=scores.device))


class ForcedEOSTokenLogitsProcessor(LogitsProcessor):
    """An end token at the last place.

    Args:
        max_length: Tokens of prompt and output.
        eos_token_id: The end tokens.
        device: Of the scores.
    """

    def __init__(
        self, max_length: int, eos_token_id: TokenIds, device: torch.device | str = "cpu"
    ) -> None:
        self.max_length = max_length
        self.eos_token_id = id_tensor("eos_token_id", eos_token_id, device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        if input_ids.shape[-1] != self.max_length - 1:
            return scores
        return only(scores, self.eos_token_id)


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """NaN becomes 0, infinities the largest numbers of their sign."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        return scores.nan_to_num(nan=0.0)


class ExponentialDecayLengthPenalty(LogitsProcessor):
    """End tokens gain, the longer the output is.

    Args:
        exponential_decay_length_penalty: (start, factor): behind `start` output tokens their
            scores rise by their size times factor ** (tokens since) - 1.
        eos_token_id: The end tokens.
        input_ids_seq_length: Tokens of the prompt.
    """

    def __init__(
        self,
        exponential_decay_length_penalty: tuple[int, float],
        eos_token_id: TokenIds,
        input_ids_seq_length: int,
    ) -> None:
        try:
            start, factor = exponential_decay_length_penalty
            self.regulation_start = int(start) + input_ids_seq_length
            self.regulation_factor = float(factor)
        except (TypeError, ValueError) as error:
            raise RequestError(
                f"{exponential_decay_length_penalty!r} is no pair of a start and a factor",
                field="exponential_decay_length_penalty",
            ) from error
        self.eos_token_id = id_tensor("eos_token_id", eos_token_id, "cpu")

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        since = input_ids.shape[-1] - self.regulation_start
        if since <= 0:
            return scores
        ids = self.eos_token_id.to(scores.device)
        ends = scores[:, ids]
        gain = ends.abs() * (self.regulation_factor**since - 1)
        changed = scores.clone()
        changed[:, ids] = ends + gain.where(ends.isfinite(), 0.0)
        return changed


class LogitNormalization(LogitsProcessor):
    """Scores become log-probabilities."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        return scores.log_softmax(dim=-1)


class PrefixConstrainedLogitsProcessor(LogitsProcessor):
    """Only tokens that a function allows.

    Args:
        prefix_allowed_tokens_fn: Called with the index of the prompt and the ids so far (seq,);
            gives the ids that may follow.
        num_beams: Rows of each prompt.
    """

    def __init__(
        self,
        prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]],
        num_beams: int,
    ) -> None:
        self._allowed = prefix_allowed_tokens_fn
        self._num_beams = num_beams

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says.

        Raises:
            RequestError: the function allows nothing.
        """
        mask = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(input_ids):
            allowed = self._allowed(row // self._num_beams, ids)
            if len(allowed) == 0:
                raise RequestError(
                    f"nothing may follow in prompt {row // self._num_beams}; allow an end token",
                    field="prefix_allowed_tokens_fn",
                )
            mask[row, allowed] = 0
        restricted = scores + mask
        # Where every beam of a prompt has lost its allowed tokens before, the function decides.
        lost = restricted.amax(dim=-1).isneginf().view(-1, self._num_beams).all(dim=-1)
        lost = lost.repeat_interleave(self._num_beams)[:, None]
        return torch.where(lost, mask, restricted)


def id_tensor(name: str, ids: Iterable[int] | TokenIds, device: torch.device | str) -> torch.Tensor:
    """Token ids as int64 (ids,).

    Raises:
        RequestError: something that is no id; names the argument.
    """
    if not isinstance(ids, torch.Tensor):
        ids = torch.tensor([ids] if isinstance(ids, int) else list(ids), device=device)
    if ids.numel() and (ids.is_floating_point() or bool((ids < 0).any())):
        raise RequestError(f"{ids.tolist()} are no token ids", field=name)
    return ids.reshape(-1).to(device=device, dtype=torch.int64)


def whole(name: str, value: int) -> int:
    """A number that counts something.

    Raises:
        RequestError: not an integer of at least 0; names the argument.
    """
    if not isinstance(value, int) or value < 0:
        raise RequestError(f"{value!r} is not an integer of at least 0", field=name)
    return value


def without(scores: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Scores with some tokens ruled out; ids beyond the vocabulary are no matter.

    Args:
        scores: (rows, vocab).
        ids: int64 (ids,).
    """
    ids = ids.to(scores.device)
    return scores.index_fill(1, ids[ids < scores.shape[-1]], -torch.inf)


def only(scores: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Scores that leave nothing but some tokens, all equally likely.

    Args:
        scores: (rows, vocab).
        ids: int64 (ids,).
    """
    return torch.full_like(scores, -torch.inf).index_fill(1, ids.to(scores.device), 0.0)

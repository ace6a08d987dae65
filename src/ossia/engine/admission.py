"""Admission: refuses what can never be served, before it is queued."""

from __future__ import annotations

from collections.abc import Iterable

from ossia.cache.allocator import PageAllocator
from ossia.engine.config import EngineConfig
from ossia.errors import CapacityError, ContextLengthError, RequestError
from ossia.types import Request


class Admission:
    """The limits of a model and an engine; safe to use from any thread.

    Args:
        config: The engine's limits.
        max_sequences: Continuations that run side by side.
        vocab_size: Of the model.
        max_position_embeddings: Of the model.
        allocator: Says how many pages a length takes.
        least_step: Tokens of a prompt that one forward pass must find room for.

    Attributes:
        vocab_size: Ids are below it.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        max_sequences: int,
        vocab_size: int,
        max_position_embeddings: int,
        allocator: PageAllocator,
        least_step: int = 1,
    ) -> None:
        self.vocab_size = vocab_size
        self._max_sequences = max_sequences
        self._context = min(config.max_context or max_position_embeddings, max_position_embeddings)
        self._num_pages = allocator.num_pages
        self._pages_to_hold = allocator.pages_to_hold
        self._least_step = least_step
        self._cache_tokens = self._longest_that_fits()

    @property
    def max_context(self) -> int:
        """Prompt and output tokens of one request at most."""
        return min(self._context, self._cache_tokens + 1)  # the last token is never computed

    def output_limit(self, request: Request) -> int:
        """How many tokens each continuation may produce.

        Raises:
            ContextLengthError: the prompt leaves no room for an output token.
            CapacityError: prompt and output exceed the KV cache, or n the places.
            RequestError: a token id lies outside the vocabulary, or the prompt is empty.
        """
        self._check_ids(request)
        sampling, prompt_len = request.sampling, len(request.prompt_ids)
        if prompt_len >= self._context:
            raise ContextLengthError(
                f"{prompt_len} tokens leave no room for output within {self._context}; "
                "shorten the prompt",
                field="prompt_ids",
            )
        if sampling.n > self._max_sequences:
            raise CapacityError(
                f"{sampling.n} exceeds the engine's max_sequences={self._max_sequences}", field="n"
            )
        if prompt_len > self._cache_tokens:
            raise CapacityError(
                f"{prompt_len} tokens exceed the KV cache's {self._cache_tokens}; "
                "shorten the prompt or enlarge the cache",
                field="prompt_ids",
            )
        if sampling.max_tokens is None:
            return self.max_context - prompt_len
        limit = min(sampling.max_tokens, self._context - prompt_len)
        if prompt_len + limit - 1 > self._cache_tokens:
            raise CapacityError(
                f"{limit} behind {prompt_len} prompt tokens exceed the KV cache's "
                f"{self._cache_tokens}; lower it or enlarge the cache",
                field="max_tokens",
            )
        return limit

    def _check_ids(self, request: Request) -> None:
        if not request.prompt_ids:
            raise RequestError("is empty; give at least one token id", field="prompt_ids")
        self._check_range(request.prompt_ids, "prompt_ids")
        self._check_range(request.sampling.stop_token_ids, "stop_token_ids")
        self._check_range(request.sampling.logit_bias, "logit_bias")

    def _check_range(self, token_ids: Iterable[int], field: str) -> None:
        for token_id in token_ids:
            if type(token_id) is not int or not 0 <= token_id < self.vocab_size:
                raise RequestError(
                    f"{token_id!r} is not a token id from 0 to {self.vocab_size - 1}", field=field
                )

    def _longest_that_fits(self) -> int:
        """Tokens whose keys and values the cache can hold for a sequence that is alone."""
        low, high = 0, self._context
        while low < high:
            middle = (low + high + 1) // 2
            if self._pages_to_hold(middle, self._least_step) <= self._num_pages:
                low = middle
            else:
                high = middle - 1
        return low

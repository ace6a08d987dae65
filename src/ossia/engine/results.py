"""RequestResult: the outputs of one request put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ossia.types import FinishReason, TokenLogprob, TokenOutput


@dataclass(slots=True)
class Continuation:
    """Everything that one continuation produced.

    Args:
        token_ids: In order, a stop token included.
        logprobs: One for each token if they were asked for, else empty.
        finish_reason: None while it goes on.
        error: What went wrong, with finish_reason ERROR.
    """

    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finish_reason: FinishReason | None = None
    error: str | None = None


@dataclass(slots=True)
class RequestResult:
    """A request's continuations, and what is known of its prompt.

    Args:
        request_id: The request's.
        continuations: One for each of n, by index.
        prompt_logprobs: One for each prompt token if they were asked for; the first is None.
        cached_tokens: Prompt tokens served from the prefix cache.
    """

    request_id: str
    continuations: list[Continuation]
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    cached_tokens: int = 0

    @classmethod
    def empty(cls, request_id: str, n: int) -> RequestResult:
        """Nothing produced yet."""
        return cls(request_id, [Continuation() for _ in range(n)])

    @property
    def is_finished(self) -> bool:
        """Whether every continuation has ended."""
        return all(one.finish_reason is not None for one in self.continuations)

    def add(self, output: TokenOutput) -> None:
        """Take in the next output of this request."""
        one = self.continuations[output.index]
        if output.token_id is not None:
            one.token_ids.append(output.token_id)
        if output.logprob is not None:
            one.logprobs.append(output.logprob)
        if output.prompt_logprobs is not None:
            self.prompt_logprobs = output.prompt_logprobs
        one.finish_reason, one.error = output.finish_reason, output.error
        self.cached_tokens = output.cached_tokens

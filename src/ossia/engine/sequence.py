"""Sequence: one continuation of one request, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from ossia.cache.sequence_pages import SequencePages
from ossia.types import FinishReason, Request, TokenLogprob, TokenMask


@dataclass(slots=True, eq=False)
class Sequence:
    """The state of one continuation.

    A request with n > 1 starts as one sequence with `pending_forks` n - 1; when its prompt is
    computed it splits, and the parts have nothing but pages in common.

    Args:
        request: What was asked for.
        arrival: Rises with every submitted request.
        max_new_tokens: Output limit, the context length taken into account.
        seed: The request's, or one made up for it.
        index: Which continuation of the request this is.
        token_ids: Prompt and output.
        pending_forks: Continuations that wait for the prompt to be computed.
        num_computed: Leading tokens whose keys and values are in pages.
        pages: Those pages; None while waiting.
        cached_tokens: Prompt tokens found in the prefix cache when the sequence first started.
        prompt_logprobs: Collected while the prompt is computed, one for each token but the first.
        mask: Restricts what may come next.
        last_turn: The scheduler's turn in which the sequence started or was last given tokens.
        blocked_at: Available pages when the sequence last failed to start; fewer will not do.
        finish_reason: Set once it has ended.
    """

    request: Request
    arrival: int
    max_new_tokens: int
    seed: int
    index: int = 0
    token_ids: list[int] = field(default_factory=list[int])
    pending_forks: int = 0
    num_computed: int = 0
    pages: SequencePages | None = None
    cached_tokens: int | None = None
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    mask: TokenMask | None = None
    last_turn: int = -1
    blocked_at: int = -1
    finish_reason: FinishReason | None = None

    @property
    def rank(self) -> tuple[int, int, int]:
        """Order of precedence; the lowest goes first and is preempted last."""
        return (self.request.priority, self.arrival, self.index)

    @property
    def width(self) -> int:
        """Continuations that this sequence is, or will become."""
        return 1 + self.pending_forks

    @property
    def own_pages(self) -> SequencePages:
        """`pages`, of a sequence that is in a plan."""
        assert self.pages is not None, "planned sequences have pages"
        return self.pages

    @property
    def num_outputs(self) -> int:
        """Tokens produced so far."""
        return len(self.token_ids) - len(self.request.prompt_ids)

    @property
    def num_uncomputed(self) -> int:
        """Tokens without keys and values; one is what decoding takes, more is prefill."""
        return len(self.token_ids) - self.num_computed

    @property
    def prompt_left(self) -> int:
        """Prompt tokens that a pass of prompts has to compute.

        The last one alone is computed by a step of decoding, like outputs, if one token is drawn behind
        it and nothing else is asked for.
        """
        sampling = self.request.sampling
        left = max(0, len(self.request.prompt_ids) - self.num_computed)
        return 0 if left == sampling.n == 1 and sampling.prompt_logprobs is None else left

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether the prompt's log-probabilities are still to be collected."""
        return self.request.sampling.prompt_logprobs is not None and self.num_outputs == 0

    def forks(self) -> list[Sequence]:
        """The other continuations of a sequence whose prompt is computed; they have no pages yet."""
        if not self.pending_forks:
            return []
        return [
            Sequence(
                request=self.request,
                arrival=self.arrival,
                max_new_tokens=self.max_new_tokens,
                seed=self.seed,
                index=self.index + offset,
                token_ids=list(self.token_ids),
                cached_tokens=self.cached_tokens,
                prompt_logprobs=self.prompt_logprobs,
            )
            for offset in range(1, self.width)
        ]

"""StepPlan and StepResult: what one forward pass is to compute, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ossia.engine.sequence import Sequence
from ossia.types import TokenLogprob


@dataclass(slots=True)
class PlanEntry:
    """A stretch of one sequence.

    Args:
        sequence: Its next tokens are computed; their pages are there.
        num_tokens: How many.
        draws: Continuations that draw a token from the stretch's last logits: none while a prompt
            is incomplete, more than one where a request with n > 1 splits.
    """

    sequence: Sequence
    num_tokens: int
    draws: tuple[Sequence, ...]

    @property
    def end(self) -> int:
        """Tokens of the sequence that are computed after this step."""
        return self.sequence.num_computed + self.num_tokens


@dataclass(slots=True)
class StepPlan:
    """Everything that one forward pass computes."""

    entries: list[PlanEntry] = field(default_factory=list[PlanEntry])

    @property
    def num_tokens(self) -> int:
        """Tokens in the pass."""
        return sum(entry.num_tokens for entry in self.entries)

    @property
    def only_decodes(self) -> bool:
        """Whether every entry is one token behind its sequence's others, and at most one draws from it.

        That is a step of decoding, an output that was drawn before and is computed again, or a prompt's last
        token where the others are there.
        """
        return all(
            entry.num_tokens == 1 and len(entry.draws) <= 1 and not entry.sequence.prompt_left
            for entry in self.entries
        )

    @property
    def draws(self) -> list[Sequence]:
        """Continuations that draw a token, in the order of the result."""
        return [sequence for entry in self.entries for sequence in entry.draws]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One continuation's next token, or why there is none."""

    token_id: int | None
    logprob: TokenLogprob | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a forward pass produced.

    Args:
        drawn: One for each of the plan's draws.
        prompt_logprobs: For each entry the log-probabilities of the prompt tokens that its stretch
            predicts; empty where nobody asked.
    """

    drawn: list[Drawn]
    prompt_logprobs: list[list[TokenLogprob]]

"""Landing: what of a plan the step ahead has computed already, where the rest needs a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ossia.engine.plan import Drawn, StepPlan, StepResult


@dataclass(frozen=True, slots=True)
class Landing:
    """Some entries of a plan, each of one token that draws.

    Args:
        plan: All of it.
        places: By entry, its row of the step.
        read: What the step has drawn in these rows; waits for it.
    """

    plan: StepPlan
    places: dict[int, int]
    read: Callable[[], list[Drawn]]

    @property
    def rest(self) -> StepPlan:
        """What is left to compute."""
        entries = enumerate(self.plan.entries)
        return StepPlan([entry for at, entry in entries if at not in self.places])

    def joined(self, rest: StepResult) -> StepResult:
        """The whole plan's result.

        Args:
            rest: Of `rest`.
        """
        landed = iter(self.read())
        drawn, scores = iter(rest.drawn), iter(rest.prompt_logprobs)
        entries = list(enumerate(self.plan.entries))
        return StepResult(
            [
                next(landed if at in self.places else drawn)
                for at, one in entries
                for _ in one.draws
            ],
            [[] if at in self.places else next(scores) for at, _ in entries],
        )

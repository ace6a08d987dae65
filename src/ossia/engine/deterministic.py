"""DeterministicScheduler: who runs next where neighbours must not show in anybody's logits.

The sums behind a logit depend on how many tokens a pass has: kernels are chosen by that, and cut
their work by it. So a pass is one of two things here, and never both:

- one chunk of one prompt, which begins at a multiple of the chunk and is as long as the prompt
  allows: it depends on its own request alone;
- a step of decoding for as many sequences as the runner computes alike. It has always as many rows,
  or always one.

The two take turns. A sequence that is preempted computes its prompt again by the same chunks, and its
outputs again by steps of decoding, one after the other: the same bits as before. Prompts share the
pages of whole chunks, since these are what each would have computed itself; outputs share nothing.
"""

from __future__ import annotations

import math

from ossia.cache.allocator import PageAllocator
from ossia.engine.config import StepLimits
from ossia.engine.plan import StepPlan
from ossia.engine.scheduler import LOGPROB_CHUNK, Scheduler, by_turn
from ossia.engine.sequence import Sequence


def reuse_unit(chunk: int, page_size: int) -> int:
    """Pages that a prompt can take from another: those of so many whole chunks."""
    return math.lcm(chunk, page_size) // page_size


class DeterministicScheduler(Scheduler):
    """As Scheduler, with another `schedule`.

    Args:
        limits: As for Scheduler; a chunk is never cut.
        allocator: Source of pages; reuses `reuse_unit` at a time.
        looks_ahead: As for Scheduler.
        rows: Sequences of a step of decoding at most.
    """

    def __init__(
        self,
        limits: StepLimits,
        allocator: PageAllocator,
        *,
        looks_ahead: bool = False,
        rows: int,
    ) -> None:
        super().__init__(limits, allocator, looks_ahead=looks_ahead)
        self._rows = rows
        self._unit = reuse_unit(limits.prefill_chunk, allocator.page_size) * allocator.page_size
        self._prompt_is_next = True

    def schedule(self) -> StepPlan:
        """As Scheduler says."""
        self._begin_turn()
        for is_prompt in (self._prompt_is_next, not self._prompt_is_next):
            plan = self._plan_prompt() if is_prompt else self._plan_decoding()
            if plan.entries:
                self._prompt_is_next = not is_prompt
                return plan
        return StepPlan()

    def _plan_prompt(self) -> StepPlan:
        """One chunk of the first prompt in turn that has room."""
        plan = StepPlan()
        for seq in sorted((seq for seq in self._running if seq.prompt_left), key=by_turn):
            chunk = self._chunk_of(seq)
            if self._place(plan, seq, chunk, least=chunk):
                break
        return plan

    def _plan_decoding(self) -> StepPlan:
        """A token of each sequence whose prompt is computed, or of those that are next in turn."""
        plan = StepPlan()
        decoding = [seq for seq in self._running if not seq.prompt_left]
        if len(decoding) > self._rows:
            decoding.sort(key=by_turn)
        for seq in decoding:
            if len(plan.entries) == self._rows:
                break
            self._place(plan, seq, 1)  # who finds no room leaves the row to the next
        return plan

    def _chunk_of(self, seq: Sequence) -> int:
        chunk = self._limits.prefill_chunk
        if seq.request.sampling.prompt_logprobs is not None:
            chunk = min(chunk, LOGPROB_CHUNK)  # when it is preempted later, too
        return min(seq.prompt_left, chunk)

    def _reusable(self, seq: Sequence) -> int:
        return self._shareable(seq)

    def _shareable(self, seq: Sequence) -> int:
        if seq.request.sampling.prompt_logprobs is not None:  # its chunks are others
            return 0
        return len(seq.request.prompt_ids) // self._unit * self._unit

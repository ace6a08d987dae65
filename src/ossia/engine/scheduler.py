"""Scheduler: who runs next, with how many tokens, and who is preempted. Knows no tensors.

Sequences that decode get their one token in every step. What remains of the step's token budget
goes to prompts in chunks, in turn: whoever was served longest ago is first. Pages and places go by
rank (priority, then arrival): when pages run out, the sequence of the lowest rank gives up its own
and later computes them again. So the sequence of the highest rank always moves, and nobody starves
behind later arrivals of the same priority.
"""

from __future__ import annotations

from bisect import insort

from ossia.cache.allocator import PageAllocator
from ossia.engine.config import StepLimits
from ossia.engine.plan import PlanEntry, StepPlan
from ossia.engine.sequence import Sequence

LOGPROB_CHUNK = 64  # every token of such a chunk has logits over the whole vocabulary


class Scheduler:
    """Two queues ordered by rank, waiting and running, and the pages of the running.

    Args:
        limits: Of a forward pass, and of how many run side by side.
        allocator: Source of pages.
        looks_ahead: Whether sequences that decode get a place for the token after the next one
            where there is room, so that a runner can compute it before it knows the next.
    """

    def __init__(
        self,
        limits: StepLimits,
        allocator: PageAllocator,
        *,
        looks_ahead: bool = False,
    ) -> None:
        self.num_preemptions = 0
        self._limits = limits
        self._allocator = allocator
        self._looks_ahead = looks_ahead
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []
        self._turn = 0

    @property
    def num_waiting(self) -> int:
        """Sequences without pages."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences with pages."""
        return len(self._running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence that fits into the cache when it is alone."""
        insort(self._waiting, sequence, key=_rank)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, whatever its state, and its pages back."""
        if sequence.pages is None:
            self._waiting.remove(sequence)
        else:
            self._running.remove(sequence)
            self._close(sequence)

    def schedule(self) -> StepPlan:
        """Choose what the next forward pass computes. Empty only if there is nothing to do."""
        self._begin_turn()
        plan = StepPlan()
        decoding = [seq for seq in self._running if seq.num_uncomputed == 1]
        budget = self._limits.max_batch_tokens - len(decoding)
        for seq in decoding:
            self._place(plan, seq, 1)
        for seq in self._prefilling_in_turn():
            if budget <= 0:
                break
            if seq.pages is None:  # preempted by one of those before it
                continue
            budget -= self._place(plan, seq, min(budget, self._chunk_of(seq)))
        return plan

    def commit(self, plan: StepPlan) -> None:
        """Note that the plan was computed: advance its sequences and split those with n > 1."""
        for entry in plan.entries:
            seq = entry.sequence
            assert seq.pages is not None, "planned sequences have pages"
            seq.num_computed = entry.end
            self._allocator.commit(
                seq.pages, seq.token_ids, seq.num_computed, share=self._shareable(seq)
            )
            if not entry.draws:
                continue
            seq.pending_forks = 0
            for fork in entry.draws[1:]:
                fork.num_computed = seq.num_computed
                fork.pages = self._allocator.fork(seq.pages)
                insort(self._running, fork, key=_rank)

    def check(self) -> None:
        """Assert that pages in equal pages out, and that queues and pages agree."""
        assert all(seq.pages is None for seq in self._waiting), "a waiting sequence has pages"
        assert sum(seq.width for seq in self._running) <= self._limits.max_sequences
        live = [seq.pages for seq in self._running if seq.pages is not None]
        assert len(live) == len(self._running), "a running sequence has no pages"
        self._allocator.check(live)

    def _begin_turn(self) -> None:
        self._turn += 1
        self._admit()

    def _prefilling_in_turn(self) -> list[Sequence]:
        return sorted((seq for seq in self._running if seq.num_uncomputed > 1), key=by_turn)

    def _chunk_of(self, seq: Sequence) -> int:
        chunk = min(seq.num_uncomputed, self._limits.prefill_chunk)
        return min(chunk, LOGPROB_CHUNK) if seq.wants_prompt_logprobs else chunk

    def _reusable(self, seq: Sequence) -> int | None:
        """Leading tokens of a sequence that others may have computed for it; None: all."""
        return 0 if seq.wants_prompt_logprobs else None

    def _shareable(self, seq: Sequence) -> int | None:
        """Leading tokens of a sequence that it may compute for others; None: all."""
        return None

    def _place(self, plan: StepPlan, seq: Sequence, wanted: int, least: int = 1) -> int:
        """Enter `least` to `wanted` tokens of a sequence into the plan, or none; returns how many."""
        if seq.pages is None:  # preempted by one of those before it
            return 0
        room = self._allocator.room(seq.pages, seq.num_computed)
        while room < least:
            victim = self._running[-1]
            if victim is seq:
                return 0  # everyone else is of higher rank; they will move and leave
            self._preempt(victim)
            plan.entries = [entry for entry in plan.entries if entry.sequence is not victim]
            room = self._allocator.room(seq.pages, seq.num_computed)
        num_tokens = min(wanted, room)
        seq.last_turn = self._turn
        completes = num_tokens == seq.num_uncomputed
        draws = (seq, *seq.forks()) if completes else ()
        places = num_tokens
        if self._looks_ahead and num_tokens == len(draws) == 1 and room > 1:
            places += seq.num_outputs + 1 < seq.max_new_tokens
        self._allocator.grow(seq.pages, seq.num_computed, places)
        plan.entries.append(PlanEntry(seq, num_tokens, draws))
        return num_tokens

    def _admit(self) -> None:
        """Start waiting sequences, by rank, as long as there is place."""
        while self._waiting:
            seq = self._waiting[0]
            while not self._start(seq):
                # Only a better priority may push others out for its start; rank alone waits.
                worst = self._running[-1]
                if worst.request.priority <= seq.request.priority:
                    return
                self._preempt(worst)
            self._waiting.remove(seq)
            insort(self._running, seq, key=_rank)

    def _start(self, seq: Sequence) -> bool:
        """Give a sequence its first pages if what it has to compute will probably fit."""
        places = self._limits.max_sequences - sum(other.width for other in self._running)
        if places < seq.width:
            return False
        available = self._allocator.num_available
        if self._running and available <= seq.blocked_at:
            return False
        pages, num_cached = self._allocator.open(
            seq.token_ids, reuse=self._reusable(seq), salt=seq.request.cache_salt
        )
        missing = self._footprint(seq) - pages.num_owned
        if self._running and missing > self._allocator.num_available - self._spoken_for():
            self._allocator.close(pages)
            seq.blocked_at = available
            return False
        seq.pages, seq.num_computed, seq.blocked_at = pages, num_cached, -1
        seq.last_turn = self._turn  # at the end of the round, or newcomers would starve the rest
        if seq.cached_tokens is None:
            seq.cached_tokens = num_cached
        return True

    def _footprint(self, seq: Sequence) -> int:
        """Pages that a sequence owns at most until its present tokens are computed."""
        return self._allocator.pages_to_hold(len(seq.token_ids), self._limits.prefill_chunk)

    def _spoken_for(self) -> int:
        """Pages that running sequences are about to need."""
        num_pages = len(self._running) * len(self._allocator.windows)  # one more for each decoder
        for seq in self._running:
            if seq.num_uncomputed > 1 and seq.pages is not None:
                num_pages += max(0, self._footprint(seq) - seq.pages.num_owned)
        return num_pages

    def _preempt(self, seq: Sequence) -> None:
        self._running.remove(seq)
        self._close(seq)
        seq.prompt_logprobs.clear()
        self.num_preemptions += 1
        insort(self._waiting, seq, key=_rank)

    def _close(self, seq: Sequence) -> None:
        assert seq.pages is not None, "running sequences have pages"
        self._allocator.close(seq.pages)
        seq.pages, seq.num_computed = None, 0


def by_turn(sequence: Sequence) -> tuple[int, int, tuple[int, int, int]]:
    """Order in which sequences of which not all can be served are: by priority, then in turn."""
    return (sequence.request.priority, sequence.last_turn, sequence.rank)


def _rank(sequence: Sequence) -> tuple[int, int, int]:
    return sequence.rank

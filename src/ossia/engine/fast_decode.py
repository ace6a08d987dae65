"""FastDecode: carries out plans that only decode, by the model's CUDA graphs, one step ahead."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ossia.cache.layout import KVLayout
from ossia.cache.pool import KVPool
from ossia.cache.sequence_pages import SequencePages
from ossia.engine.plan import Drawn, PlanEntry, StepPlan, StepResult
from ossia.engine.sampler import Sampler, unusable
from ossia.engine.sequence import Sequence
from ossia.model.decode_step import MAX_ROWS, DecodeStep, StepOutput
from ossia.model.heads import CausalLM


@dataclass(frozen=True, slots=True)
class _Row:
    """What a row of a step computes.

    Args:
        sequence: Whose token it is.
        pages: Its pages then. A sequence that was preempted and started again has others.
        position: Of the token.
    """

    sequence: Sequence
    pages: SequencePages
    position: int


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step on its way.

    Args:
        rows: What each row computes; None for nothing.
        size: Rows of the graph.
        drawn: Where the most likely ids and their logits' bits arrive, int32 (2, size), on the host.
        arrived: Recorded behind that copy.
    """

    rows: list[_Row | None]
    size: int
    drawn: torch.Tensor
    arrived: torch.cuda.Event


class FastDecode:
    """One new token for each of a few sequences, without a kernel launch from Python.

    Where all that is asked for is the most likely token, the step after is enqueued before this one's
    result is read: ids stay on the device, and what happens on the host meanwhile costs nothing. A
    sequence that ends, or is taken out, leaves its row to nobody, and what the step ahead computed for
    it is dropped; what it wrote went to pages that were the sequence's when it was enqueued, before
    anything that their next owner enqueues. Once the rows that are left fit a smaller graph, one step
    begins anew from the host.

    Args:
        model: Whose steps these are.
        layout: Groups of layers.
        pool: The pages.
        max_context: Longest sequence.
        valid_end: Ids from here on are never drawn.
    """

    def __init__(
        self, model: CausalLM, layout: KVLayout, pool: KVPool, max_context: int, valid_end: int
    ) -> None:
        pages = list(zip(pool.k_pages, pool.v_pages, strict=True))
        self._step = DecodeStep(model, pages, layout.groups, max_context, valid_end)
        self._valid_end = valid_end
        self._page_size = layout.page_size
        self._ahead: _Flight | None = None
        self._results = [
            torch.empty(2 * MAX_ROWS, dtype=torch.int32, pin_memory=pool.k_pages[0].is_cuda)
            for _ in "ab"
        ]

    @staticmethod
    def takes(plan: StepPlan) -> bool:
        """Whether every entry is one token that draws one."""
        return 0 < len(plan.entries) <= MAX_ROWS and all(map(_decodes, plan.entries))

    def execute(self, plan: StepPlan, sampler: Sampler) -> StepResult:
        """Compute and draw.

        Args:
            plan: `takes` allows it; page copies are done.
            sampler: Draws where the most likely token is not all that is asked for.
        """
        sequences = [entry.sequence for entry in plan.entries]
        places = self._places_ahead(sequences)
        flight, self._ahead = self._ahead, None
        draws = plan.draws
        if not sampler.takes_argmax(draws):
            logits = self._cold(sequences).logits.clone()
            logits[:, self._valid_end :] = -torch.inf
            return StepResult(sampler.sample(logits, draws), [[] for _ in sequences])
        if places is None or flight is None:
            output = self._cold(sequences)
            rows: list[_Row | None] = [_next_row(sequence) for sequence in sequences]
            flight = self._followed(rows, self._step.size_for(len(rows)), output.drawn)
            places = list(range(len(rows)))
        self._ahead = self._enqueue_next(flight, places)
        flight.arrived.synchronize()
        drawn = _most_likely(flight.drawn)
        return StepResult([drawn[place] for place in places], [[] for _ in sequences])

    def warm_up(self, max_sequences: int) -> None:
        """Prepare steps of up to so many sequences."""
        self._step.warm_up(min(max_sequences, MAX_ROWS))

    def drop(self) -> None:
        """Forget the step ahead: something else is computed in between."""
        self._ahead = None

    def _cold(self, sequences: list[Sequence]) -> StepOutput:
        """A step whose ids come from the host."""
        return self._step.run(
            [sequence.token_ids[sequence.num_computed] for sequence in sequences],
            [sequence.num_computed for sequence in sequences],
            [_pages(sequence).tables for sequence in sequences],
        )

    def _places_ahead(self, sequences: list[Sequence]) -> list[int] | None:
        """The rows of the step ahead that are these sequences' next; None if it lacks one."""
        if self._ahead is None:
            return None
        rows = {row: place for place, row in enumerate(self._ahead.rows) if row is not None}
        places = [rows.get(_next_row(sequence)) for sequence in sequences]
        found = [place for place in places if place is not None]
        return found if len(found) == len(places) else None

    def _enqueue_next(self, flight: _Flight, places: list[int]) -> _Flight | None:
        """The step after a flight, for those rows that may go on and have a place to write to."""
        kept = set(places)
        rows = [
            self._row_after(row) if row is not None and place in kept else None
            for place, row in enumerate(flight.rows)
        ]
        num_rows = len(rows) - rows.count(None)
        if num_rows == 0 or self._step.size_for(num_rows) < flight.size:
            return None
        output = self._step.run(
            None,
            [-1 if row is None else row.position for row in rows],
            [None if row is None else row.pages.tables for row in rows],
            flight.size,
        )
        return self._followed(rows, flight.size, output.drawn)

    def _row_after(self, row: _Row) -> _Row | None:
        """A row's next token, if it may come and has a place."""
        if row.sequence.num_outputs + 1 >= row.sequence.max_new_tokens:
            return None
        position = row.position + 1
        room = min(map(len, row.pages.tables)) * self._page_size
        return replace(row, position=position) if position < room else None

    def _followed(self, rows: list[_Row | None], size: int, drawn: torch.Tensor) -> _Flight:
        """The flight of what was enqueued last, its result sent to the host."""
        self._results.reverse()
        result = self._results[0][: drawn.numel()].view_as(drawn)
        result.copy_(drawn, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Flight(rows, size, result, arrived)


def _pages(sequence: Sequence) -> SequencePages:
    assert sequence.pages is not None, "planned sequences have pages"
    return sequence.pages


def _next_row(sequence: Sequence) -> _Row:
    return _Row(sequence, _pages(sequence), sequence.num_computed)


def _decodes(entry: PlanEntry) -> bool:
    return (
        entry.num_tokens == 1 and len(entry.draws) == 1 and not entry.sequence.wants_prompt_logprobs
    )


def _most_likely(drawn: torch.Tensor) -> list[Drawn]:
    """Ids and the bits of their logits, as the graph left them, (2, size)."""
    peaks = drawn[1].view(torch.float32).tolist()
    return [
        Drawn(None, error=reason) if (reason := unusable(peak)) else Drawn(token_id)
        for token_id, peak in zip(drawn[0].tolist(), peaks, strict=True)
    ]

"""FastDecode: carries out plans that only decode, by the model's CUDA graphs, one step ahead."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from ossia.cache.layout import KVLayout
from ossia.cache.pool import KVPool
from ossia.engine.landing import Landing
from ossia.engine.plan import Drawn, StepPlan, StepResult
from ossia.engine.sampler import Sampler, drawn_with_peaks
from ossia.engine.sequence import Sequence
from ossia.engine.step_scores import read_scores, score, scored_rows
from ossia.kernels.decode.draw import Chance, chances, of_sets
from ossia.kernels.uploads import upload
from ossia.model.decode_memory import DecodeMemory
from ossia.model.decode_step import MAX_ROWS, DecodeStep, StepOutput
from ossia.model.heads import CausalLM


class _Rows:
    """Who has which row, from a step whose ids come from the host to the next such one.

    Args:
        sequences: Of each row.
        device: Where steps are.

    Attributes:
        places: The row of each sequence.
        pages: Each one's pages then. A sequence that was preempted and started again has others.
        scored: Those that want log-probabilities; None if nobody does.
    """

    __slots__ = ("_chances", "_greedy", "pages", "places", "scored", "sequences")

    def __init__(self, sequences: list[Sequence], device: torch.device) -> None:
        self.sequences = sequences
        self.scored = scored_rows(sequences, device)
        self._greedy = not any(one.request.sampling.temperature for one in sequences)
        self._chances: npt.NDArray[np.int32] | None = None
        self.places = {sequence: place for place, sequence in enumerate(sequences)}
        self.pages = [sequence.own_pages for sequence in sequences]

    def chances(self, sets: list[int | None]) -> npt.NDArray[np.int32] | None:
        """How their tokens are drawn from sets, by their places, as DecodeStep takes it."""
        from_all = all(place is None for place in sets)
        if self._greedy and from_all:
            return None
        if self._chances is None:
            self._chances = _chances(self.sequences)
        return self._chances if from_all else of_sets(self._chances, sets)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step on its way.

    Args:
        rows: Whose tokens it computes.
        positions: Of each row's token; negative where nothing is computed.
        size: Rows of the graph.
        sets: What each row draws from; None for all ids.
        drawn: Where ids and the largest logits' bits arrive, as StepOutput says.
        scores: Where log-probabilities arrive, as `step_scores.score` says; None where nobody asks.
        arrived: Recorded behind the step.
    """

    rows: _Rows
    positions: list[int]
    size: int
    sets: list[bytes | None]
    drawn: torch.Tensor
    scores: torch.Tensor | None
    arrived: torch.cuda.Event

    def holds(self, sequence: Sequence) -> bool:
        """Whether it computes a sequence's next token, in the pages that it has."""
        place = self.rows.places.get(sequence)
        return (
            place is not None
            and self.positions[place] == sequence.num_computed
            and self.rows.pages[place] is sequence.pages
        )

    def read(self, places: list[int]) -> list[Drawn]:
        """What some rows have drawn; waits for the step."""
        self.arrived.synchronize()
        rows = np.array(places)
        ids, bits = self.drawn.numpy()[np.array(self.positions)[rows] & 1, :, rows].T
        drawn = drawn_with_peaks(ids.tolist(), bits.view(np.float32).tolist())
        if self.scores is None or self.rows.scored is None:
            return drawn
        token_ids = {
            place: one.token_id
            for place, one in zip(places, drawn, strict=True)
            if one.token_id is not None
        }
        scores = read_scores(self.rows.scored, self.scores, token_ids)
        return [
            replaced(one, logprob=scores.get(place))
            for place, one in zip(places, drawn, strict=True)
        ]


class FastDecode:
    """One new token for each of a few sequences, without a kernel launch from Python.

    Where all that is asked for is the most likely token, or one by chance from all or the likely ones, the step after is
    enqueued before this one's result is read: ids stay on the device, and what happens on the host meanwhile costs
    nothing. Log-probabilities are computed between the two. Masks are asked then; if one refuses what was drawn,
    the step runs once more, for its logits. Where one has to be asked first, the step draws from the set that it names,
    and nothing is enqueued behind it. A sequence that ends, or is taken out, leaves its row to nobody, and
    what the step ahead computed for it is dropped; what it wrote went to pages that were the sequence's when it
    was enqueued, before anything that their next owner enqueues. Once the rows that are left fit a smaller graph,
    one step begins anew from the host.

    Args:
        model: Whose steps these are.
        layout: Groups of layers.
        pool: The pages.
        max_context: Longest sequence.
        valid_end: Ids from here on are never drawn.
        max_sequences: Side by side; plans of more than MAX_ROWS are not taken.
        alike: Whether all steps run in one graph, so that each row has the same bits in all of them.
        passes: What `memory` shall hold beside the steps, as DecodeMemory takes it.

    Attributes:
        memory: Of steps and passes, which run one after the other.
    """

    def __init__(
        self,
        model: CausalLM,
        layout: KVLayout,
        pool: KVPool,
        max_context: int,
        valid_end: int,
        max_sequences: int,
        *,
        alike: bool = False,
        passes: Mapping[int, int] | None = None,
    ) -> None:
        pages = list(zip(pool.k_pages, pool.v_pages, strict=True))
        self._device = pool.k_pages[0].device
        self._max_rows = min(max_sequences, MAX_ROWS)
        self._only_size = DecodeStep.size_alike(self._max_rows) if alike else None
        rows = self._only_size or self._max_rows
        sizes = DecodeStep.sizes_for(rows)
        self.memory = DecodeMemory(model.config, sizes, self._device, passes, evenly=alike)
        self._step = DecodeStep(
            model, pages, layout.groups, max_context, valid_end, rows, self.memory
        )
        self._valid_end = valid_end
        self._page_sizes = layout.page_sizes
        self._ahead: _Flight | None = None

    def takes(self, plan: StepPlan) -> bool:
        """Whether a plan only decodes, for no more sequences than there are rows."""
        return 0 < len(plan.entries) <= self._max_rows and plan.only_decodes

    def execute(self, plan: StepPlan, sampler: Sampler) -> StepResult:
        """Compute and draw.

        Args:
            plan: `takes` allows it; page copies are done.
            sampler: Draws where something else is asked for than steps can do.
        """
        sequences = [entry.sequence for entry in plan.entries]
        places = self._places_ahead(sequences)
        flight, self._ahead = self._ahead, None
        draws = plan.draws
        if len(draws) < len(sequences) or not sampler.is_drawn_by_steps(draws):
            flight = None
        elif not sampler.trusts(sequences):
            flight, places = self._first(sequences, sampler.asked), None
        elif places is None or flight is None:
            flight, places = self._first(sequences, sampler.expected), None
        if flight is None:
            drawn = self._drawn_from_logits(plan, sampler)
            return StepResult(drawn, [[] for _ in sequences])
        places = places or list(range(len(sequences)))
        if sampler.trusts(sequences):
            self._ahead = self._enqueue_next(flight, places, sampler)
        return StepResult(self._drawn_by(flight, places, sampler), [[] for _ in sequences])

    def warm_up(self) -> None:
        """Prepare steps of as many sequences as there may be."""
        self._step.warm_up(self._max_rows, only=self._only_size)

    def land(self, plan: StepPlan, sampler: Sampler) -> Landing | None:
        """What of a plan that needs a pass is computed already, since the step ahead did so.

        The other sequences of that step lose what it computed for them, if the plan computes that, too.

        Returns:
            None if there is nothing. A step ahead of whose sequences the plan has none stays ahead.
        """
        flight = self._ahead
        if flight is None or not any(
            entry.sequence in flight.rows.places for entry in plan.entries
        ):
            return None
        self._ahead = None
        places = {
            at: flight.rows.places[entry.sequence]
            for at, entry in enumerate(plan.entries)
            if entry.draws == (entry.sequence,)
            and entry.num_tokens == 1
            and flight.holds(entry.sequence)
        }
        read = partial(self._drawn_by, flight, list(places.values()), sampler)
        return Landing(plan, places, read) if places else None

    def _first(
        self, sequences: list[Sequence], set_of: Callable[[Sequence], bytes | None]
    ) -> _Flight | None:
        """A step whose ids come from the host, and whose tokens it draws itself, from a set each.

        None if it cannot: there is no room for so many sets.
        """
        sets = [set_of(sequence) for sequence in sequences]
        if (places := self._places_of(sets)) is None:
            return None
        rows = _Rows(sequences, self._device)
        output = self._cold(sequences, rows.chances(places))
        positions = [sequence.num_computed for sequence in sequences]
        return self._followed(rows, positions, self._size_for(len(positions)), sets, output)

    def _places_of(self, sets: list[bytes | None]) -> list[int | None] | None:
        """Where the sets are that rows draw from; None if a step cannot."""
        if all(one is None for one in sets):
            return [None for _ in sets]
        return self._step.sets.places(sets)

    def _cold(self, sequences: list[Sequence], drawing: npt.NDArray[np.int32] | None) -> StepOutput:
        """A step whose ids come from the host."""
        return self._step.run(
            [sequence.token_ids[sequence.num_computed] for sequence in sequences],
            [sequence.num_computed for sequence in sequences],
            [sequence.own_pages.tables for sequence in sequences],
            self._size_for(len(sequences)),
            drawing,
        )

    def _drawn_by(self, flight: _Flight, places: list[int], sampler: Sampler) -> list[Drawn]:
        """What a step has drawn in some rows, or anew what their masks refuse."""
        sequences = [flight.rows.sequences[place] for place in places]
        drawn = flight.read(places)
        if refused := sampler.refused(sequences, drawn, [flight.sets[place] for place in places]):
            self._ahead = None  # it goes on from what does not come
            again = self._drawn_again(sequences, refused, sampler)
            for row, one in zip(refused, again, strict=True):
                drawn[row] = one
        return drawn

    def _drawn_from_logits(self, plan: StepPlan, sampler: Sampler) -> list[Drawn]:
        """What those draw that do; the others compute what they have drawn before."""
        output = self._cold([entry.sequence for entry in plan.entries], None)
        rows = [row for row, entry in enumerate(plan.entries) if entry.draws]
        if not rows:
            return []
        return sampler.sample(self._logits_of(output, rows), plan.draws)

    def _drawn_again(
        self, sequences: list[Sequence], rows: list[int], sampler: Sampler
    ) -> list[Drawn]:
        """Some rows' tokens, from the logits of the same step once more."""
        logits = self._logits_of(self._cold(sequences, None), rows)
        return sampler.sample(logits, [sequences[row] for row in rows], again=True)

    def _logits_of(self, output: StepOutput, rows: list[int]) -> torch.Tensor:
        """A copy of some rows; it is not waited for."""
        logits = output.logits.index_select(0, upload(rows, self._device))
        logits[:, self._valid_end :] = -torch.inf
        return logits

    def _size_for(self, rows: int) -> int:
        return self._only_size or self._step.size_for(rows)

    def _places_ahead(self, sequences: list[Sequence]) -> list[int] | None:
        """The rows of the step ahead that are these sequences' next; None if it lacks one."""
        if self._ahead is None:
            return None
        if not all(map(self._ahead.holds, sequences)):
            return None
        return [self._ahead.rows.places[sequence] for sequence in sequences]

    def _enqueue_next(self, flight: _Flight, places: list[int], sampler: Sampler) -> _Flight | None:
        """The step after a flight, for those rows that may go on and have a place to write to."""
        rows, num_rows = flight.rows, 0
        positions = [-1] * len(flight.positions)
        tables: list[tuple[array[int], ...] | None] = [None] * len(positions)
        sets: list[bytes | None] = [None] * len(positions)
        for place in places:
            sequence, own = rows.sequences[place], rows.pages[place].tables
            position = flight.positions[place] + 1
            is_last = sequence.num_outputs + 1 >= sequence.max_new_tokens
            room = min(len(table) * size for table, size in zip(own, self._page_sizes, strict=True))
            if not is_last and position < room:
                positions[place], tables[place] = position, own
                sets[place] = sampler.expected(sequence)
                num_rows += 1
        if num_rows == 0 or self._size_for(num_rows) < flight.size:
            return None
        if (in_table := self._places_of(sets)) is None:
            return None
        output = self._step.run(None, positions, tables, flight.size, rows.chances(in_table))
        return self._followed(rows, positions, flight.size, sets, output)

    def _followed(
        self,
        rows: _Rows,
        positions: list[int],
        size: int,
        sets: list[bytes | None],
        output: StepOutput,
    ) -> _Flight:
        """The flight of what was enqueued last."""
        scores = None
        if rows.scored is not None and any(positions[row] >= 0 for row in rows.scored.counts):
            scores = score(rows.scored, output, self._valid_end)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Flight(rows, positions, size, sets, output.drawn, scores, arrived)


def _chances(sequences: list[Sequence]) -> npt.NDArray[np.int32]:
    """How their tokens are drawn, each from all ids."""
    return chances(
        Chance(
            seed=sequence.seed,
            continuation=sequence.index,
            first=len(sequence.request.prompt_ids) - 1,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
        )
        for sequence in sequences
        for sampling in [sequence.request.sampling]
    )

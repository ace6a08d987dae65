"""A runner without a model: pages hold notes of what was written, and every read is checked."""

from __future__ import annotations

from ossia.config import ModelConfig
from ossia.engine.config import EngineConfig
from ossia.engine.kv_budget import layout_for
from ossia.engine.plan import Drawn, PlanEntry, StepPlan, StepResult


def next_token(token_ids: list[int], index: int, vocab: int) -> int:
    """What the fake model says behind these tokens: a hash, so any mistake shows."""
    return hash((index, *token_ids[-40:], len(token_ids))) % vocab


def expected_output(prompt: tuple[int, ...], index: int, count: int, vocab: int) -> list[int]:
    """The whole output of one continuation."""
    token_ids = list(prompt)
    for _ in range(count):
        token_ids.append(next_token(token_ids, index, vocab))
    return token_ids[len(prompt) :]


class FakeRunner:
    """Carries out plans on a make-believe memory.

    Every slot remembers which group wrote which token behind which prefix at which position. A step
    asserts that each query finds exactly what it should in every position that it can see.
    """

    def __init__(
        self, model_config: ModelConfig, config: EngineConfig, *, looks_ahead: bool = False
    ) -> None:
        assert config.num_pages is not None
        self.looks_ahead = looks_ahead
        self.limits = config.step_limits("cpu")
        self.rows_alike = 3
        self.is_warm = False
        self.model_config = model_config
        self.num_pages = config.num_pages
        self.fail_next = False
        self.plans: list[StepPlan] = []
        self.released: list[tuple[str, int]] = []
        self._layout = layout_for(config, model_config)
        self._slots: list[list[object]] = [
            [None] * config.page_size for _ in range(config.num_pages)
        ]

    def execute(self, plan: StepPlan) -> StepResult:
        self.plans.append(plan)
        self._copy(plan)
        written: set[tuple[int, int]] = set()
        for entry in plan.entries:
            self._write(entry, written)
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError("injected")
        for entry in plan.entries:
            self._read(entry)
            if self.looks_ahead and entry.num_tokens == len(entry.draws) == 1:
                self._write_ahead(entry)
        vocab = self.model_config.vocab_size
        drawn = [Drawn(next_token(seq.token_ids, seq.index, vocab)) for seq in plan.draws]
        return StepResult(drawn, [[] for _ in plan.entries])

    def warm_up(self) -> None:
        self.is_warm = True

    def release(self, sequence) -> None:
        self.released.append((sequence.request.request_id, sequence.index))

    def _copy(self, plan: StepPlan) -> None:
        pairs = [pair for entry in plan.entries for pair in entry.sequence.pages.copies]
        targets = [target for _, target in pairs]
        assert len(set(targets)) == len(targets)
        contents = [list(self._slots[source]) for source, _ in pairs]
        for (_, target), content in zip(pairs, contents, strict=True):
            self._slots[target] = content

    def _write(self, entry: PlanEntry, written: set[tuple[int, int]]) -> None:
        assert entry.num_tokens > 0
        notes = _notes(entry.sequence.token_ids)
        for group, table in enumerate(entry.sequence.pages.tables):
            size = self._layout.page_sizes[group]
            for position in range(entry.sequence.num_computed, entry.end):
                page, offset = table[position // size], position % size
                assert (page, offset) not in written, "two sequences write to one slot"
                written.add((page, offset))
                self._slots[page][offset] = (group, notes[position])

    def _write_ahead(self, entry: PlanEntry) -> None:
        """What a runner does that computes the token after the next one before it is asked to."""
        sized = list(zip(entry.sequence.pages.tables, self._layout.page_sizes, strict=True))
        if entry.end < min(len(table) * size for table, size in sized):
            for table, size in sized:
                self._slots[table[entry.end // size]][entry.end % size] = "ahead"

    def _read(self, entry: PlanEntry) -> None:
        notes = _notes(entry.sequence.token_ids)
        for group, table in enumerate(entry.sequence.pages.tables):
            window, size = self._layout.windows[group], self._layout.page_sizes[group]
            first_query = entry.sequence.num_computed
            first = 0 if window is None else max(0, first_query - window + 1)
            for position in range(first, entry.end):
                found = self._slots[table[position // size]][position % size]
                assert found == (group, notes[position]), "a query sees a key that is not its own"


def _notes(token_ids: list[int]) -> list[int]:
    """For each position a hash of everything up to it, as keys and values depend on it."""
    notes: list[int] = []
    for token_id in token_ids:
        notes.append(hash((notes[-1] if notes else 0, len(notes), token_id)))
    return notes

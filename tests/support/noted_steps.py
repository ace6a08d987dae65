"""Steps on the CPU that only note how they are run, for what is believed of steps ahead."""

from __future__ import annotations

from typing import Any

import torch

from ossia.cache.sequence_pages import SequencePages
from ossia.engine.sequence import Sequence
from ossia.model.decode_step import MAX_ROWS, DecodeStep, StepOutput
from ossia.model.token_sets import TokenSets
from ossia.types import Request, SamplingParams

PAGE = 4


class NotedStep:
    """Draws the position of each row, or the lowest id of a set without it; `runs` says whether ids were given, and for
    which positions."""

    size_for = staticmethod(DecodeStep.size_for)
    sizes_for = staticmethod(DecodeStep.sizes_for)
    size_alike = staticmethod(DecodeStep.size_alike)

    def __init__(self, *_: object) -> None:
        self.runs: list[tuple[bool, list[int], int]] = []
        self.chances: list[list[list[int]] | None] = []
        self.sets = TokenSets(MAX_ROWS, torch.device("cpu"))

    def run(self, ids, positions, tables, size=None, chances=None) -> StepOutput:
        self.chances.append(None if chances is None else chances.tolist())
        size = size or self.size_for(len(positions))
        self.runs.append((ids is not None, positions, size))
        drawn = torch.full((2, 2, size), -5, dtype=torch.int32)
        drawn_ids = torch.zeros(len(positions), dtype=torch.int32)
        for row, position in enumerate(positions):
            if position >= 0:
                id_ = position if chances is None else self._of_set(chances[row, -1], position)
                drawn[position & 1, :, row] = torch.tensor([id_, 0])
                drawn_ids[row] = id_
        return StepOutput(torch.zeros(len(positions), MAX_ROWS), drawn_ids, drawn)

    def _of_set(self, place: int, id_: int) -> int:
        if place == 0:
            return id_
        bits = int.from_bytes(bytes(self.sets.table[place - 1].tolist()), "little")
        return id_ if bits >> id_ & 1 else (bits & -bits).bit_length() - 1


class NoEvent:
    def record(self) -> None: ...

    def synchronize(self) -> None: ...


def fresh_pages() -> SequencePages:
    pages = SequencePages.empty(1)
    pages.tables[0].extend(range(8))
    return pages


def a_sequence(name: int, max_new_tokens: int = 20, **sampling: Any) -> Sequence:
    params = SamplingParams(**({"temperature": 0.0} | sampling))
    return Sequence(
        request=Request(request_id=str(name), prompt_ids=(1, 2, 3), sampling=params),
        arrival=name, max_new_tokens=max_new_tokens, seed=name << 32, token_ids=[1, 2, 3], num_computed=2,
        pages=fresh_pages(),
    )  # fmt: skip


def with_logits(run, second: int | None = None):
    """The row's position is by far the most likely id, and then another one."""

    def run_with(ids, positions, tables, size=None, chances=None) -> StepOutput:
        output = run(ids, positions, tables, size, chances)
        if second is not None:
            output.logits[:, second] = 500.0
        output.logits[range(len(positions)), positions] = 1000.0
        return output

    return run_with

"""SequencePages: the pages of one sequence, one table for each group of layers."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class SequencePages:
    """Which page holds which positions of one sequence.

    Args:
        tables: For each group the page that holds positions [i * page_size, (i + 1) * page_size) of the
            group's page size. C ints, so that a tensor can read them without a loop.
        first: For each group the first entry that is still owned; those before it are 0.
        tip: Node of the last page that is in the prefix tree; None without prefix reuse.
        num_shared_pages: Nodes of the prefix tree that stand for the sequence.
        is_forked: Whether the page that is not full yet may have another owner, too.
        copies: (source, target) pages to be copied before the next forward pass.
    """

    tables: tuple[array[int], ...]
    first: list[int]
    tip: int | None = None
    num_shared_pages: int = 0
    is_forked: bool = False
    copies: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def empty(cls, num_groups: int) -> SequencePages:
        """No pages yet."""
        return cls(tables=tuple(array("i") for _ in range(num_groups)), first=[0] * num_groups)

    @property
    def num_owned(self) -> int:
        """Pages of all groups that the sequence owns or shares."""
        return sum(len(table) - first for table, first in zip(self.tables, self.first, strict=True))

    def owned(self, page_sizes: Sequence[int]) -> list[int]:
        """Those pages, the deepest first.

        Args:
            page_sizes: Of the groups.
        """
        largest = max(page_sizes)
        spans = [largest // size for size in page_sizes]  # pages beside one of the largest
        depth = max(-(-len(table) // span) for table, span in zip(self.tables, spans, strict=True))
        return [
            table[idx]
            for place in range(depth - 1, -1, -1)
            for table, first, span in zip(self.tables, self.first, spans, strict=True)
            for idx in range(min(place * span + span, len(table)) - 1, place * span - 1, -1)
            if idx >= first
        ]

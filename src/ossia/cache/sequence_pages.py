"""SequencePages: the pages of one sequence, one table for each group of layers."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from ossia.cache.prefix import PrefixNode


@dataclass(slots=True, eq=False)
class SequencePages:
    """Which page holds which positions of one sequence.

    Args:
        tables: For each group the page that holds positions [i * page_size, (i + 1) * page_size).
            C ints, so that a tensor can read them without a loop.
        first: For each group the first entry that is still owned; those before it are 0.
        tip: Node of the last page that is in the prefix tree; None without prefix reuse.
        num_shared_pages: Pages that are in the prefix tree.
        is_forked: Whether the page that is not full yet may have another owner, too.
        copies: (source, target) pages to be copied before the next forward pass.
    """

    tables: tuple[array[int], ...]
    first: list[int]
    tip: PrefixNode | None = None
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

    def owned(self) -> list[int]:
        """Those pages, the deepest first."""
        depth = max(len(table) for table in self.tables)
        return [
            table[idx]
            for idx in range(depth - 1, -1, -1)
            for table, first in zip(self.tables, self.first, strict=True)
            if first <= idx < len(table)
        ]

"""IdlePages: pages in the order in which their last owners left them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator


class IdlePages:
    """An ordered set of page numbers: the least recently added goes first, any can be taken out.

    A ring of links in two arrays, in which the place behind the last page is both ends. Unlike an
    OrderedDict of hundreds of thousands of pages it is nothing that Python's collector walks over, and takes
    8 bytes a page.

    Args:
        num_pages: Pages 0 to num_pages - 1.
    """

    def __init__(self, num_pages: int) -> None:
        self._ends = num_pages
        self._before = array("i", [num_pages]) * (num_pages + 1)
        self._after = array("i", [num_pages]) * (num_pages + 1)
        self._size = 0

    def __len__(self) -> int:
        """Pages in it."""
        return self._size

    def __iter__(self) -> Iterator[int]:
        """The pages, the least recently added first."""
        page = self._after[self._ends]
        while page != self._ends:
            yield page
            page = self._after[page]

    def add(self, page: int) -> None:
        """Put a page that is not in it behind all others."""
        last = self._before[self._ends]
        self._before[page], self._after[page] = last, self._ends
        self._after[last] = self._before[self._ends] = page
        self._size += 1

    def remove(self, page: int) -> None:
        """Take out a page that is in it."""
        before, after = self._before[page], self._after[page]
        self._after[before], self._before[after] = after, before
        self._size -= 1

    def pop(self) -> int:
        """Take out the least recently added page; there is one."""
        assert self._size, "no page is idle"
        page = self._after[self._ends]
        self.remove(page)
        return page

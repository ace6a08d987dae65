"""PageBook: who owns which page. Knows neither tensors nor tokens.

A page is in exactly one of three states:

    free   nobody owns it and its contents do not matter
    held   owned by one or more sequences (reference count above zero)
    idle   owned by nobody, but retained: its contents may be asked for again until it is reclaimed
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ossia.cache.idle_pages import IdlePages


class PageBook:
    """Reference counts of a fixed number of pages.

    All is kept in arrays: there may be hundreds of thousands of pages, and what Python's collector has to
    walk over stops every request for as long.

    Args:
        num_pages: Pages 0 to num_pages - 1.
    """

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._refs = array("i", [0]) * num_pages
        # The page freed last is used first, so that memory never touched stays untouched.
        self._free = array("i", range(num_pages - 1, -1, -1))
        self._is_retained = bytearray(num_pages)
        self._idle = IdlePages(num_pages)

    @property
    def num_free(self) -> int:
        """Pages that can be had without losing anything."""
        return len(self._free)

    @property
    def num_idle(self) -> int:
        """Pages kept for their contents only."""
        return len(self._idle)

    @property
    def num_available(self) -> int:
        """Pages that can be had, reclaimed ones included."""
        return len(self._free) + len(self._idle)

    @property
    def num_held(self) -> int:
        """Pages that some sequence owns."""
        return self.num_pages - self.num_available

    def refs(self, page: int) -> int:
        """How many owners the page has."""
        return self._refs[page]

    def allocate(self) -> int:
        """Take a free page; its only owner is the caller."""
        page = self._free.pop()
        self._refs[page] = 1
        return page

    def allocate_free(self, most: int) -> array[int]:
        """As `allocate` for several pages: as many as are wanted, or as are free."""
        first = max(0, len(self._free) - most)
        pages = self._free[first:]
        del self._free[first:]
        for page in pages:
            self._refs[page] = 1
        return pages

    def share(self, page: int) -> None:
        """Become one more owner of a held or idle page."""
        if not self._refs[page]:
            assert self._is_retained[page], f"page {page} is free"
            self._idle.remove(page)
        self._refs[page] += 1

    def release(self, page: int) -> None:
        """Give up one ownership; the last owner's page becomes free, or idle if retained."""
        assert self._refs[page] > 0, f"page {page} is not held"
        self._refs[page] -= 1
        if self._refs[page]:
            return
        if self._is_retained[page]:
            self._idle.add(page)
        else:
            self._free.append(page)

    def retain(self, pages: Sequence[int]) -> None:
        """Keep held pages' contents when their last owner leaves."""
        assert all(map(self._refs.__getitem__, pages)), f"one of {pages} is not held"
        for page in pages:
            self._is_retained[page] = True

    def reclaim(self) -> int:
        """Turn the least recently used idle page into a free one and say which."""
        page = self._idle.pop()
        self._is_retained[page] = False
        self._free.append(page)
        return page

    def check(self) -> None:
        """Assert that every page is in exactly one state and none is lost."""
        free, idle = set(self._free), set(self._idle)
        held = {page for page, refs in enumerate(self._refs) if refs > 0}
        retained = {page for page, is_retained in enumerate(self._is_retained) if is_retained}
        assert len(free) == len(self._free), "a page is free twice"
        assert len(idle) == len(self._idle), "idle pages are counted wrongly"
        assert min(self._refs, default=0) >= 0, "a page has a negative count"
        assert len(free | idle | held) == self.num_pages, "a page is lost"
        assert len(free) + len(idle) + len(held) == self.num_pages, "a page is in two states"
        assert idle == retained - held, "an idle page is not retained"
        assert not free & retained, "a free page is retained"

"""PageAllocator: gives sequences the pages they need and takes them back. Knows no tensors."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from ossia.cache.pages import PageBook
from ossia.cache.prefix import NO_PAGE, PrefixTree, first_page_in_reach
from ossia.cache.sequence_pages import SequencePages


class PageAllocator:
    """Pages for sequences: shared prefixes, growth, recycling behind windows, copy on write.

    Args:
        windows: For each group of layers the keys that a query may see; None means all.
        page_size: Tokens in a page of the group that gets most into one.
        num_pages: Pages that all sequences share.
        prefix_reuse: Whether full pages are kept and found again by their tokens.
        reuse_unit: Pages of `page_size`; a sequence starts from a multiple of so many that others
            computed.
        page_sizes: For each group the tokens in a page, which divide `page_size`; None: `page_size` in each.
    """

    def __init__(
        self,
        *,
        windows: tuple[int | None, ...],
        page_size: int,
        num_pages: int,
        prefix_reuse: bool,
        reuse_unit: int = 1,
        page_sizes: tuple[int, ...] | None = None,
    ) -> None:
        self.windows = windows
        self.page_size = page_size
        self._page_sizes = sizes = page_sizes or (page_size,) * len(windows)
        self._is_even = all(size == page_size for size in sizes)
        self._spans = [page_size // size for size in sizes]  # pages of each group in a node
        self._places = [
            (group, part) for group, span in enumerate(self._spans) for part in range(span)
        ]
        self._windowed = [
            (idx, window, size)
            for idx, (window, size) in enumerate(zip(windows, sizes, strict=True))
            if window is not None
        ]
        self._book = PageBook(num_pages)
        self._tree = PrefixTree(windows, page_size, reuse_unit, sizes) if prefix_reuse else None

    @property
    def num_available(self) -> int:
        """Pages that can be had now."""
        return self._book.num_available

    @property
    def num_pages(self) -> int:
        """Pages there are."""
        return self._book.num_pages

    @property
    def num_held(self) -> int:
        """Pages that live sequences own."""
        return self._book.num_held

    def pages_to_hold(self, num_tokens: int, step: int = 1) -> int:
        """The most pages a sequence owns at once while it grows to `num_tokens`.

        Args:
            num_tokens: Final length.
            step: Tokens added by one forward pass at most.
        """
        total = 0
        for window, size in zip(self.windows, self._page_sizes, strict=True):
            all_pages = -(-num_tokens // size)
            if window is None:
                total += all_pages
                continue
            # A span of n positions touches at most (n - 2) // size + 2 pages.
            span = window - 1 + step
            total += min(all_pages, (span - 2) // size + 2 if span > 1 else 1)
        return total

    def open(
        self, token_ids: Sequence[int], *, reuse: int | None = None, salt: str = ""
    ) -> tuple[SequencePages, int]:
        """Start a sequence.

        Args:
            token_ids: What it will compute. At least the last one is left to compute.
            reuse: Leading tokens that others may have computed for the sequence; None: any number.
            salt: Only sequences of the same one share pages.

        Returns:
            Its pages, and how many leading tokens they already hold.
        """
        pages = SequencePages.empty(len(self.windows))
        if self._tree is None:
            return pages, 0
        most = len(token_ids) - 1
        max_pages = (most if reuse is None else min(reuse, most)) // self.page_size
        origin = self._tree.origin(salt)
        chain = self._tree.match(token_ids, max_pages, origin)
        num_tokens = len(chain) * self.page_size
        for group, (window, span) in enumerate(zip(self.windows, self._spans, strict=True)):
            first = first_page_in_reach(window, num_tokens, self._page_sizes[group])
            pages.first[group] = first
            reached = self._tree.pages_of(chain[first // span :], group)[first % span :]
            assert NO_PAGE not in reached, "match() promised these pages"
            for page in reached:
                self._book.share(page)
            pages.tables[group].extend([0] * first + reached)
        pages.num_shared_pages = len(chain)
        pages.tip = chain[-1] if chain else origin
        self._tree.hold(pages.tip)
        return pages, num_tokens

    def room(self, pages: SequencePages, num_tokens: int) -> int:
        """How many tokens behind the first `num_tokens` could get a place now."""
        available = self._book.num_available
        if pages.is_forked and num_tokens % self.page_size:
            available -= len(self._shared_groups(pages, num_tokens))
            if available < 0:
                return 0
        if self._is_even:
            owned = min(map(len, pages.tables)) + available // len(self.windows)
            return owned * self.page_size - num_tokens
        return self._room_in(pages, available) - num_tokens

    def _room_in(self, pages: SequencePages, available: int) -> int:
        """Tokens that a sequence has room for in its pages and so many more, of unequal sizes."""
        rounds, left = divmod(available, sum(self._spans))
        ends = [
            len(table) * size + rounds * self.page_size
            for table, size in zip(pages.tables, self._page_sizes, strict=True)
        ]
        while True:
            end = min(ends)
            left -= ends.count(end)
            if left < 0:
                return end
            ends = [
                each + size if each == end else each
                for each, size in zip(ends, self._page_sizes, strict=True)
            ]

    def grow(self, pages: SequencePages, num_tokens: int, new_tokens: int) -> None:
        """Give the `new_tokens` (at most `room`) behind the first `num_tokens` their places."""
        if pages.is_forked and num_tokens % self.page_size:
            self._unshare(pages, num_tokens)
        for table, size in zip(pages.tables, self._page_sizes, strict=True):
            needed = -(-(num_tokens + new_tokens) // size)
            if needed > len(table):
                table.extend(self._book.allocate_free(needed - len(table)))
            while len(table) < needed:
                table.append(self._allocate())

    def commit(
        self,
        pages: SequencePages,
        token_ids: Sequence[int],
        num_tokens: int,
        share: int | None = None,
    ) -> None:
        """Note that the first `num_tokens` are computed: share full pages, recycle passed ones.

        Args:
            pages: The sequence's.
            token_ids: Its tokens.
            num_tokens: Of them are computed.
            share: Of them others may use at most; None: all.
        """
        if pages.copies:
            pages.copies.clear()
        end = num_tokens if share is None else min(num_tokens, share)
        if self._tree is not None and end // self.page_size > pages.num_shared_pages:
            self._share_full_pages(self._tree, pages, token_ids, end)
        for group, window, size in self._windowed:
            first = first_page_in_reach(window, num_tokens, size)
            if first > pages.first[group]:
                self._release_before(pages, group, first)

    def fork(self, pages: SequencePages) -> SequencePages:
        """A second owner of the same pages; the partial one is copied when either writes to it."""
        assert not pages.copies, "fork only what is computed"
        for page in pages.owned(self._page_sizes):
            self._book.share(page)
        if self._tree is not None and pages.tip is not None:
            self._tree.hold(pages.tip)
        pages.is_forked = True
        return SequencePages(
            tables=tuple(array("i", table) for table in pages.tables),
            first=list(pages.first),
            tip=pages.tip,
            num_shared_pages=pages.num_shared_pages,
            is_forked=True,
        )

    def close(self, pages: SequencePages) -> None:
        """Take everything back. The deepest pages become idle first, so they are reclaimed first."""
        for page in pages.owned(self._page_sizes):
            self._book.release(page)
        if self._tree is not None and pages.tip is not None:
            self._tree.unhold(pages.tip)
            pages.tip = None

    def check(self, live: Iterable[SequencePages]) -> None:
        """Assert that the books agree with the live sequences and the prefix tree."""
        self._book.check()
        owners = [0] * self._book.num_pages
        for pages in live:
            for page in pages.owned(self._page_sizes):
                owners[page] += 1
        refs = [self._book.refs(page) for page in range(self._book.num_pages)]
        assert owners == refs, "a page is owned by nobody alive, or by too few"
        if self._tree is not None:
            self._tree.check()
        retained = 0 if self._tree is None else len(self._tree)
        assert retained >= self._book.num_idle, "an idle page is in no tree"

    def _allocate(self) -> int:
        if not self._book.num_free:
            page = self._book.reclaim()
            assert self._tree is not None, "only the tree retains pages"
            self._tree.drop(page)
        return self._book.allocate()

    def _shared_groups(self, pages: SequencePages, num_tokens: int) -> list[int]:
        """Groups whose page for the next token has other owners, too."""
        return [
            group
            for group, (table, size) in enumerate(zip(pages.tables, self._page_sizes, strict=True))
            if (idx := num_tokens // size) < len(table) and self._book.refs(table[idx]) > 1
        ]

    def _unshare(self, pages: SequencePages, num_tokens: int) -> None:
        for group in self._shared_groups(pages, num_tokens):
            idx = num_tokens // self._page_sizes[group]
            shared, own = pages.tables[group][idx], self._allocate()
            self._book.release(shared)
            pages.tables[group][idx] = own
            pages.copies.append((shared, own))
        pages.is_forked = False

    def _share_full_pages(
        self, tree: PrefixTree, pages: SequencePages, token_ids: Sequence[int], num_tokens: int
    ) -> None:
        assert pages.tip is not None, "open() sets it"
        size, node, taken = self.page_size, pages.tip, list[int]()
        begin, end = pages.num_shared_pages, num_tokens // size
        for idx, own in enumerate(_owned_between(pages, begin, end, self._spans), start=begin):
            node = tree.insert(node, token_ids[idx * size : (idx + 1) * size], own)
            for (group, part), page, kept in zip(self._places, own, tree.pages(node), strict=True):
                if page == NO_PAGE:
                    continue
                if kept == page:
                    taken.append(page)
                else:
                    self._merge(pages, group, idx * self._spans[group] + part, kept)
        self._book.retain(taken)
        tree.hold(node)
        tree.unhold(pages.tip)
        pages.tip = node
        pages.num_shared_pages = max(begin, end)

    def _merge(self, pages: SequencePages, group: int, idx: int, kept: int) -> None:
        """Own the page that the tree kept; whoever owns a node's page owns its parents' too."""
        assert kept != NO_PAGE, "insert() fills every place that was given"
        self._book.share(kept)
        self._book.release(pages.tables[group][idx])
        pages.tables[group][idx] = kept

    def _release_before(self, pages: SequencePages, group: int, first: int) -> None:
        """`first` lies behind the first that is owned."""
        table = pages.tables[group]
        for idx in range(pages.first[group], min(first, len(table))):
            self._book.release(table[idx])
            table[idx] = 0
        pages.first[group] = first


def _owned_between(
    pages: SequencePages, begin: int, end: int, spans: list[int]
) -> Iterator[tuple[int, ...]]:
    """For each node from `begin` to before `end` the pages of each group, or NO_PAGE.

    Args:
        pages: The sequence's.
        begin: Of the nodes.
        end: Likewise.
        spans: Pages of each group in a node.
    """
    columns: list[list[int]] = []
    for table, first, span in zip(pages.tables, pages.first, spans, strict=True):
        passed = min(max(first, begin * span), end * span)
        owned = [NO_PAGE] * (passed - begin * span) + table[passed : end * span].tolist()
        columns += [owned[part::span] for part in range(span)]
    return zip(*columns, strict=True)

"""PrefixTree: which full pages hold which tokens after which prefix."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from struct import Struct

NO_PAGE = -1
"""Where there is none."""
_NONE = -1  # a slot or node that is not there


def first_page_in_reach(window: int | None, position: int, page_size: int) -> int:
    """First page that a query at `position` can see into; earlier ones are never read again.

    Args:
        window: Keys that a query may see, itself included; None means all.
        position: Of this query; later queries see no earlier page.
        page_size: Tokens in a page.
    """
    return 0 if window is None else max(0, position - window + 1) // page_size


class PrefixTree:
    """Finds the longest prefix whose pages are all there.

    A node stands for one full page of tokens behind its parent's; it is found by the tokens themselves,
    so two prompts can never be mistaken for each other. For each group of layers it knows the page that
    holds the node's keys and values, if that page still exists; or the pages, one behind the other, of a
    group whose pages hold fewer tokens.

    Nodes are numbers, used again once they are pruned, so that only who holds a node, or a page of it, may keep
    its number. What is known of them lies in arrays, which have room for as many as there ever were, and in
    dictionaries of nothing but bytes and ints: Python's collector looks into neither, whereas hundreds of thousands of
    objects stop everything while it walks over them.

    Args:
        windows: For each group the keys that a query may see, itself included; None means all.
        page_size: Tokens of a node.
        unit: Nodes; what is found is a multiple of so many.
        page_sizes: For each group the tokens in a page, which divide those of a node; None: those of a node in each.
    """

    root = 0
    """The node without tokens."""

    def __init__(
        self,
        windows: tuple[int | None, ...],
        page_size: int,
        unit: int = 1,
        page_sizes: tuple[int, ...] | None = None,
    ) -> None:
        self._unit = unit
        self._windows = windows
        self._page_size = page_size
        self._page_sizes = page_sizes or (page_size,) * len(windows)
        self._groups = tuple(
            group for group, size in enumerate(self._page_sizes) for _ in range(page_size // size)
        )  # of each place for a page in a node
        self._key = Struct(f"={1 + page_size}i").pack  # a parent and a page of tokens
        self._nodes: dict[bytes, int] = {}  # by key
        self._keys: dict[int, bytes] = {}
        self._spare = array("i")  # nodes that were pruned
        self._no_pages = array("i", [NO_PAGE]) * len(self._groups)
        # By node; those of the root come first.
        self._parents = array("i", [_NONE])
        self._num_children = array("i", [0])
        self._num_holders = array("i", [0])
        # By slot: the places of node n begin at slot n * len(self._groups).
        self._pages = array("i", self._no_pages)
        self._next_slots = array("i", self._no_pages)  # _NONE, or another of the same page
        # By page. It has several slots if sequences parted within a node behind a small page's end.
        self._slots: dict[int, int] = {}

    def __len__(self) -> int:
        """Pages that the tree refers to."""
        return len(self._slots)

    @property
    def num_nodes(self) -> int:
        """Nodes behind the root."""
        return len(self._keys)

    def pages(self, node: int) -> array[int]:
        """For each place of a node its page, or NO_PAGE; a copy."""
        begin = node * len(self._groups)
        return self._pages[begin : begin + len(self._groups)]

    def pages_of(self, nodes: Sequence[int], group: int) -> list[int]:
        """The pages of one group in a chain of nodes, one behind the other, or NO_PAGE."""
        pages, width = self._pages, len(self._groups)
        begin, end = (
            self._groups.index(group),
            self._groups.index(group) + self._groups.count(group),
        )
        return [page for node in nodes for page in pages[node * width + begin : node * width + end]]

    def origin(self, salt: str) -> int:
        """Where prompts of a salt begin: they share nothing with those of another."""
        if not salt:
            return self.root
        # Pages of tokens are found by their parent first, whose number is never negative.
        name = _NONE.to_bytes(4, "little", signed=True) + salt.encode("utf-8", "surrogatepass")
        return self._child(self.root, name)

    def match(
        self, token_ids: Sequence[int], max_pages: int, origin: int | None = None
    ) -> list[int]:
        """The longest chain of nodes that can stand in for computing the start of `token_ids`.

        A group without a window needs every page of the chain. One with a window needs only the
        pages that the next token's query reaches into; if those are gone, a shorter chain is taken.

        Args:
            token_ids: The sequence, at least max_pages * page_size long.
            max_pages: Nodes of the chain at most.
            origin: Where to begin; None is the root.
        """
        chain: list[int] = []
        present = [0] * len(self._windows)  # for each group: pages present without gap at the end
        usable = 0
        size = self._page_size
        node: int | None = self.root if origin is None else origin
        for start in range(0, max_pages * size, size):
            node = self._nodes.get(self._key(node, *token_ids[start : start + size]))
            if node is None:
                break
            chain.append(node)
            for group, page in zip(self._groups, self.pages(node), strict=True):
                present[group] = present[group] + 1 if page != NO_PAGE else 0
            if self._is_usable(len(chain), present):
                usable = len(chain)
        return chain[:usable]

    def insert(self, parent: int, tokens: Sequence[int], pages: Sequence[int]) -> int:
        """The node for `tokens`, a page of them, behind `parent`; what pages it lacks is filled in from `pages`.

        Where the node already has a page for a place it keeps it: compare `pages(node)` to learn
        which of the given pages were taken.
        """
        node = self._child(parent, self._key(parent, *tokens))
        for slot, page in enumerate(pages, start=node * len(self._groups)):
            if page != NO_PAGE and self._pages[slot] == NO_PAGE:
                self._pages[slot] = page
                self._next_slots[slot] = self._slots.get(page, _NONE)
                self._slots[page] = slot
        return node

    def drop(self, page: int) -> None:
        """Forget a page whose contents are about to be lost."""
        slot = self._slots.pop(page)
        while slot != _NONE:
            self._pages[slot], node = NO_PAGE, slot // len(self._groups)
            slot = self._next_slots[slot]
            self._prune(node)

    def hold(self, node: int) -> None:
        """Keep the node in the tree until `unhold`: a sequence will insert behind it."""
        self._num_holders[node] += 1

    def unhold(self, node: int) -> None:
        """Undo one `hold`."""
        assert self._num_holders[node] > 0, "nobody holds this node"
        self._num_holders[node] -= 1
        self._prune(node)

    def check(self) -> None:
        """Assert that the tree's books are in order, between two uses of it."""
        live, spare = set(self._nodes.values()), set(self._spare)
        assert self._keys == {node: key for key, node in self._nodes.items()}, "keys are mixed up"
        assert len(spare) == len(self._spare), "a node is spare twice"
        assert not spare & live, "a spare node is found"
        assert live | spare == set(range(1, len(self._parents))), "a node is lost"
        children = Counter(self._parents[node] for node in live)
        assert children.keys() <= live | {self.root}, "a node's parent is pruned"
        for node, (num_children, num_holders) in enumerate(
            zip(self._num_children, self._num_holders, strict=True)
        ):
            assert num_children == children[node], f"node {node} counts its children wrongly"
            assert num_holders >= 0, f"node {node} is held less than never"
            is_needed = num_children or num_holders or self.pages(node) != self._no_pages
            assert bool(is_needed) == (node in live) or node == self.root, f"node {node} stays"
        found = 0
        for page, slot in self._slots.items():
            while slot != _NONE:
                assert self._pages[slot] == page, f"page {page} is not where it should be"
                found, slot = found + 1, self._next_slots[slot]
        assert found == sum(page != NO_PAGE for page in self._pages), "a page cannot be found"

    def _is_usable(self, num_nodes: int, present: list[int]) -> bool:
        num_tokens = num_nodes * self._page_size
        return num_nodes % self._unit == 0 and all(
            num_tokens // size - run <= first_page_in_reach(window, num_tokens, size)
            for run, window, size in zip(present, self._windows, self._page_sizes, strict=True)
        )

    def _child(self, parent: int, key: bytes) -> int:
        """The node of that key; made if there is none."""
        node = self._nodes.get(key)
        if node is not None:
            return node
        if self._spare:
            node = self._spare.pop()
            self._parents[node] = parent
        else:
            node = len(self._parents)
            self._parents.append(parent)
            self._num_children.append(0)
            self._num_holders.append(0)
            self._pages.extend(self._no_pages)
            self._next_slots.extend(self._no_pages)
        self._num_children[parent] += 1
        self._nodes[key] = node
        self._keys[node] = key
        return node

    def _prune(self, node: int) -> None:
        """Take out nodes that hold nothing and lead nowhere."""
        while node != self.root and not (self._num_children[node] or self._num_holders[node]):
            if self.pages(node) != self._no_pages:
                return
            del self._nodes[self._keys.pop(node)]
            self._spare.append(node)
            node = self._parents[node]
            self._num_children[node] -= 1

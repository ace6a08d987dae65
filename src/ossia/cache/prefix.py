"""PrefixTree: which full pages hold which tokens after which prefix.

A node stands for one full page of tokens behind its parent's; it is found by the tokens themselves,
so two prompts can never be mistaken for each other. For each group of layers it knows the page that
holds the node's keys and values, if that page still exists; or the pages, of a group whose pages hold
fewer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


def first_page_in_reach(window: int | None, position: int, page_size: int) -> int:
    """First page that a query at `position` can see into; earlier ones are never read again.

    Args:
        window: Keys that a query may see, itself included; None means all.
        position: Of this query; later queries see no earlier page.
        page_size: Tokens in a page.
    """
    return 0 if window is None else max(0, position - window + 1) // page_size


@dataclass(slots=True, eq=False)
class PrefixNode:
    """One full page of tokens behind a prefix.

    Args:
        parent: The prefix; None only at the root.
        tokens: The page's token ids.
        pages: For each group the page that holds them, or None; several, one behind the other, of a
            group whose pages hold fewer tokens.
        children: Continuations by one page.
        holders: Sequences that will insert behind this node; it stays in the tree for them.
    """

    parent: PrefixNode | None
    tokens: tuple[int, ...]
    pages: list[int | None]
    children: dict[tuple[int, ...], PrefixNode] = field(
        default_factory=dict[tuple[int, ...], "PrefixNode"]
    )
    holders: int = 0


class PrefixTree:
    """Finds the longest prefix whose pages are all there.

    Args:
        windows: For each group the keys that a query may see, itself included; None means all.
        page_size: Tokens of a node.
        unit: Nodes; what is found is a multiple of so many.
        page_sizes: For each group the tokens in a page, which divide those of a node; None: those of a node in each.
    """

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
        )  # of each place in a node's pages
        self.root = PrefixNode(None, (), [None] * len(self._groups))
        # page -> its node and place. Nodes, if sequences parted within one behind a small page's end.
        self._homes: dict[int, list[tuple[PrefixNode, int]]] = {}

    def __len__(self) -> int:
        """Pages that the tree refers to."""
        return len(self._homes)

    def origin(self, salt: str) -> PrefixNode:
        """Where prompts of a salt begin: they share nothing with those of another."""
        if not salt:
            return self.root
        # No token is negative, so that no page of tokens is found under the same name.
        return self.insert(self.root, (-1, *salt.encode("utf-8", "surrogatepass")), ())

    def match(
        self, token_ids: Sequence[int], max_pages: int, origin: PrefixNode | None = None
    ) -> list[PrefixNode]:
        """The longest chain of nodes that can stand in for computing the start of `token_ids`.

        A group without a window needs every page of the chain. One with a window needs only the
        pages that the next token's query reaches into; if those are gone, a shorter chain is taken.

        Args:
            token_ids: The sequence, at least max_pages * page_size long.
            max_pages: Nodes of the chain at most.
            origin: Where to begin; None is the root.
        """
        chain: list[PrefixNode] = []
        present = [0] * len(self._windows)  # for each group: pages present without gap at the end
        usable = 0
        node = origin or self.root
        for start in range(0, max_pages * self._page_size, self._page_size):
            child = node.children.get(tuple(token_ids[start : start + self._page_size]))
            if child is None:
                break
            chain.append(child)
            node = child
            for group, page in zip(self._groups, child.pages, strict=True):
                present[group] = present[group] + 1 if page is not None else 0
            if self._is_usable(len(chain), present):
                usable = len(chain)
        return chain[:usable]

    def insert(
        self, parent: PrefixNode, tokens: tuple[int, ...], pages: Sequence[int | None]
    ) -> PrefixNode:
        """The node for `tokens` behind `parent`; missing pages are filled in from `pages`.

        Where the node already has a page for a place it keeps it: compare `node.pages` to learn
        which of the given pages were taken.
        """
        node = parent.children.get(tokens)
        if node is None:
            node = PrefixNode(parent, tokens, [None] * len(self._groups))
            parent.children[tokens] = node
        for place, page in enumerate(pages):
            if page is not None and node.pages[place] is None:
                node.pages[place] = page
                self._homes.setdefault(page, []).append((node, place))
        return node

    def drop(self, page: int) -> None:
        """Forget a page whose contents are about to be lost."""
        for node, place in self._homes.pop(page):
            node.pages[place] = None
            self._prune(node)

    def hold(self, node: PrefixNode) -> None:
        """Keep the node in the tree until `unhold`."""
        node.holders += 1

    def unhold(self, node: PrefixNode) -> None:
        """Undo one `hold`."""
        assert node.holders > 0, "nobody holds this node"
        node.holders -= 1
        self._prune(node)

    def _is_usable(self, num_nodes: int, present: list[int]) -> bool:
        num_tokens = num_nodes * self._page_size
        return num_nodes % self._unit == 0 and all(
            num_tokens // size - run <= first_page_in_reach(window, num_tokens, size)
            for run, window, size in zip(present, self._windows, self._page_sizes, strict=True)
        )

    def _prune(self, node: PrefixNode) -> None:
        """Take out nodes that hold nothing and lead nowhere."""
        while node.parent is not None and not (node.children or node.holders):
            if any(page is not None for page in node.pages):
                return
            del node.parent.children[node.tokens]
            node = node.parent

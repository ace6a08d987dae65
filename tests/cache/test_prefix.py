import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ossia.cache.prefix import NO_PAGE, PrefixTree, first_page_in_reach

_FULL, _SLIDING = 0, 1


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 80))
@settings(deadline=None)
def test_first_page_in_reach_is_the_first_that_holds_a_visible_position(
    page_size, window, position
):
    visible = [key for key in range(position + 1) if position - key < window]
    assert first_page_in_reach(window, position, page_size) == visible[0] // page_size
    assert first_page_in_reach(None, position, page_size) == 0


@given(
    page_size=st.integers(1, 4),
    window=st.integers(1, 12),
    present=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8),
    limit=st.integers(0, 8),
)
@settings(deadline=None, max_examples=300)
def test_match_is_the_longest_prefix_that_can_be_read_completely(page_size, window, present, limit):
    tree = PrefixTree((None, window), page_size)
    token_ids = [idx % 3 for idx in range(9 * page_size)]
    node = tree.root
    for idx, has in enumerate(present):
        pages = [2 * idx + group if has[group] else NO_PAGE for group in (_FULL, _SLIDING)]
        node = tree.insert(node, tuple(token_ids[idx * page_size : (idx + 1) * page_size]), pages)
    found = tree.match(token_ids, limit)

    def readable(num_pages: int) -> bool:
        query = num_pages * page_size  # the first position that is left to compute
        return all(
            present[key // page_size][_FULL]
            and (query - key >= window or present[key // page_size][_SLIDING])
            for key in range(query)
        )

    lengths = [num for num in range(min(limit, len(present)) + 1) if readable(num)]
    assert len(found) == max(lengths)


def test_prompts_that_differ_in_one_token_share_the_pages_before_it():
    tree = PrefixTree((None,), 2)
    first = tree.insert(tree.root, (1, 2), [0])
    tree.insert(first, (3, 4), [1])
    assert [list(tree.pages(node)) for node in tree.match([1, 2, 3, 5], 2)] == [[0]]
    assert tree.match([2, 1, 3, 4], 2) == []


def test_equal_pages_behind_different_prefixes_are_not_confused():
    tree = PrefixTree((None,), 1)
    tree.insert(tree.insert(tree.root, (1,), [0]), (7,), [1])
    tree.insert(tree.insert(tree.root, (2,), [2]), (7,), [3])
    assert [list(tree.pages(node)) for node in tree.match([2, 7], 2)] == [[2], [3]]


def test_the_first_page_to_arrive_is_kept():
    tree = PrefixTree((None, 4), 2)
    node = tree.insert(tree.root, (1, 2), [0, NO_PAGE])
    assert tree.insert(tree.root, (1, 2), [5, 6]) == node
    assert list(tree.pages(node)) == [0, 6]
    assert len(tree) == 2


def test_dropping_pages_prunes_what_holds_nothing():
    tree = PrefixTree((None,), 1)
    parent = tree.insert(tree.root, (1,), [0])
    child = tree.insert(parent, (2,), [1])
    tree.drop(0)
    assert tree.num_nodes == 2, "the child still has its page"
    assert tree.match([1, 2], 2) == [], "but cannot be reached without its parent's"
    tree.hold(child)
    tree.drop(1)
    assert tree.num_nodes == 2, "somebody will insert behind it"
    tree.unhold(child)
    assert tree.num_nodes == 0
    assert len(tree) == 0


def test_a_dropped_page_is_no_longer_found():
    tree = PrefixTree((None,), 1)
    tree.insert(tree.root, (1,), [0])
    tree.drop(0)
    with pytest.raises(KeyError):
        tree.drop(0)


def test_prompts_of_another_salt_are_not_found_and_leave_nothing_behind():
    tree = PrefixTree((None,), 2)
    ids = [1, 2, 3, 4]
    for page, salt in enumerate(("", "a", "b")):
        origin = tree.origin(salt)
        assert tree.match(ids, 2, origin) == []
        node = tree.insert(origin, (1, 2), [page])
        assert tree.match(ids, 2, tree.origin(salt)) == [node]
    found = [tree.match(ids, 2, tree.origin(salt)) for salt in ("", "a", "b")]
    assert [list(tree.pages(node)) for (node,) in found] == [[0], [1], [2]]
    for page in range(3):
        tree.drop(page)
    assert tree.num_nodes == 0


@pytest.mark.parametrize("salt", ["\x01", "\x01\0\0\0", "\x01\0\0\0" * 2, "\ud800"])
def test_a_salt_is_no_page_of_tokens(salt):
    tree = PrefixTree((1,), 1)  # behind pages that are passed, as the salt's own node has none
    tree.insert(tree.origin(salt), (7,), [0])
    assert tree.match([1, 7], 2) == []
    assert len(tree.match([7], 1, tree.origin(salt))) == 1


class PrefixTreeMachine(RuleBasedStateMachine):
    """The tree against a dictionary from a salt and all tokens of a prefix to its pages.

    Pages of the second and third place hold half as many tokens, so that two nodes may share one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree((None, 5), 2, page_sizes=(2, 1))
        self.pages: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        self.held: list[tuple[str, tuple[int, ...], int]] = []
        self.num_pages = 0

    @rule(
        salt=st.sampled_from(("", "x")),
        tokens=st.lists(st.integers(0, 2), min_size=2, max_size=8),
        missing=st.lists(st.booleans(), min_size=12, max_size=12),
        sharing=st.booleans(),
        is_held=st.booleans(),
    )
    def insert(self, salt, tokens, missing, sharing, is_held) -> None:
        node, prefix = self.tree.origin(salt), ()
        for begin in range(0, len(tokens) // 2 * 2, 2):
            prefix = tuple(tokens[: begin + 2])
            pages = [
                NO_PAGE if missing[3 * (begin // 2) + place] else self.num_pages + place
                for place in range(3)
            ]
            beside = [
                kept[1]
                for (other, name), kept in self.pages.items()
                if other == salt and name[:-1] == prefix[:-1] and name != prefix
            ]
            if sharing and beside and pages[1] != NO_PAGE:
                pages[1] = beside[0]
            self.num_pages += 3
            node = self.tree.insert(node, prefix[begin:], pages)
            kept = self.pages.setdefault((salt, prefix), [NO_PAGE] * 3)
            for place, page in enumerate(pages):
                if kept[place] == NO_PAGE:
                    kept[place] = page
            assert list(self.tree.pages(node)) == kept
        self.tree.hold(node)
        self.held.append((salt, prefix, node))
        if not is_held:
            self.unhold_last()
        self.compare()

    @precondition(lambda self: self.known())
    @rule(data=st.data())
    def drop(self, data) -> None:
        page = data.draw(st.sampled_from(self.known()))
        self.tree.drop(page)
        for kept in self.pages.values():
            kept[:] = [NO_PAGE if each == page else each for each in kept]
        self.compare()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unhold(self, data) -> None:
        self.held.append(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))
        self.unhold_last()
        self.compare()

    def unhold_last(self) -> None:
        *_, node = self.held.pop()
        self.tree.unhold(node)

    def known(self) -> list[int]:
        return sorted({page for kept in self.pages.values() for page in kept if page != NO_PAGE})

    def compare(self) -> None:
        """Forget prefixes behind which is nothing; the tree has what is left."""
        wanted = [name for name, kept in self.pages.items() if kept != [NO_PAGE] * 3]
        wanted += [(salt, prefix) for salt, prefix, _ in self.held]
        needed = {
            (salt, prefix[:end]) for salt, prefix in wanted for end in range(2, len(prefix) + 1, 2)
        }
        self.pages = {name: kept for name, kept in self.pages.items() if name in needed}
        for salt, prefix, node in self.held:
            assert list(self.tree.pages(node)) == self.pages[salt, prefix]
        origins = {salt for salt, _ in needed if salt}
        assert self.tree.num_nodes == len(needed) + len(origins)
        assert len(self.tree) == len(self.known())
        self.tree.check()


TestPrefixTreeMachine = PrefixTreeMachine.TestCase
TestPrefixTreeMachine.settings = settings(deadline=None, max_examples=100)


def test_numbers_of_nodes_are_used_again():
    tree = PrefixTree((None,), 1)
    nodes = [tree.insert(tree.root, (token,), [token]) for token in range(3)]
    for token in range(3):
        tree.drop(token)
    assert {tree.insert(tree.root, (token,), [token]) for token in range(3, 6)} == set(nodes)


@pytest.mark.parametrize("harm", ["_num_children", "_num_holders", "_pages", "_next_slots"])
def test_check_notices_a_wrong_book(harm):
    tree = PrefixTree((None,), 1)
    tree.hold(tree.insert(tree.insert(tree.root, (1,), [0]), (2,), [1]))
    tree.check()
    getattr(tree, harm)[2] += 1 if harm == "_next_slots" else -2
    with pytest.raises(AssertionError, match=r"node|page"):
        tree.check()

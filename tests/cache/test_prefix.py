import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.cache.prefix import PrefixTree, first_page_in_reach

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
        pages = [2 * idx + group if has[group] else None for group in (_FULL, _SLIDING)]
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
    assert [node.pages for node in tree.match([1, 2, 3, 5], 2)] == [[0]]
    assert tree.match([2, 1, 3, 4], 2) == []


def test_equal_pages_behind_different_prefixes_are_not_confused():
    tree = PrefixTree((None,), 1)
    tree.insert(tree.insert(tree.root, (1,), [0]), (7,), [1])
    tree.insert(tree.insert(tree.root, (2,), [2]), (7,), [3])
    assert [node.pages[0] for node in tree.match([2, 7], 2)] == [2, 3]


def test_the_first_page_to_arrive_is_kept():
    tree = PrefixTree((None, 4), 2)
    node = tree.insert(tree.root, (1, 2), [0, None])
    assert tree.insert(tree.root, (1, 2), [5, 6]) is node
    assert node.pages == [0, 6]
    assert len(tree) == 2


def test_dropping_pages_prunes_what_holds_nothing():
    tree = PrefixTree((None,), 1)
    parent = tree.insert(tree.root, (1,), [0])
    child = tree.insert(parent, (2,), [1])
    tree.drop(0)
    assert tree.root.children, "the child still has its page"
    assert tree.match([1, 2], 2) == [], "but cannot be reached without its parent's"
    tree.hold(child)
    tree.drop(1)
    assert tree.root.children, "somebody will insert behind it"
    tree.unhold(child)
    assert not tree.root.children
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
    assert [tree.match(ids, 2, tree.origin(salt))[0].pages for salt in ("", "a", "b")] == [
        [0],
        [1],
        [2],
    ]
    for page in range(3):
        tree.drop(page)
    assert tree.root.children == {}


def test_a_salt_is_no_page_of_tokens():
    tree = PrefixTree((None,), 1)
    tree.insert(tree.origin("\x01"), (7,), [0])
    assert tree.match([1, 7], 2) == []

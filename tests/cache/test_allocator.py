import gc

from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.cache.allocator import PageAllocator


def allocator(
    windows=(None, 4), page_size=2, num_pages=40, prefix_reuse=True, page_sizes=None
) -> PageAllocator:
    return PageAllocator(
        windows=windows, page_size=page_size, num_pages=num_pages, prefix_reuse=prefix_reuse,
        page_sizes=page_sizes,
    )  # fmt: skip


def compute(pages_of: PageAllocator, token_ids, step=3, reuse=None):
    """A sequence that has gone through `token_ids`."""
    pages, done = pages_of.open(token_ids, reuse=reuse)
    cached = done
    while done < len(token_ids):
        count = min(step, len(token_ids) - done)
        pages_of.grow(pages, done, count)
        done += count
        pages_of.commit(pages, token_ids, done)
    return pages, cached


@given(
    windows=st.sampled_from([(None,), (5,), (1,), (None, 1), (None, 5), (3, 9)]),
    page_size=st.integers(1, 5),
    ratio=st.sampled_from([1, 2, 3]),
    length=st.integers(1, 40),
    step=st.integers(1, 12),
)
@settings(deadline=None, max_examples=200)
def test_a_sequence_never_owns_more_than_pages_to_hold(windows, page_size, ratio, length, step):
    sizes = tuple(page_size * (ratio if window is None else 1) for window in windows)
    page_size = max(sizes)
    book = allocator(windows, page_size, num_pages=200, prefix_reuse=False, page_sizes=sizes)
    pages, _ = book.open(range(length))
    most = done = 0
    while done < length:
        count = min(step, length - done)
        book.grow(pages, done, count)
        most = max(most, pages.num_owned)
        done += count
        book.commit(pages, range(length), done)
        book.check([pages])
    assert most <= book.pages_to_hold(length, step)
    if step == 1 and length >= 10 + 2 * page_size:  # long enough to meet every alignment
        assert most == book.pages_to_hold(length)
    book.close(pages)
    book.check([])
    assert book.num_available == 200


@given(
    page_size=st.integers(1, 5),
    ratio=st.sampled_from([1, 2, 3]),
    length=st.integers(1, 20),
    num_pages=st.integers(2, 30),
    shared=st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_room_is_what_grow_can_give(page_size, ratio, length, num_pages, shared):
    sizes = (page_size * ratio, page_size)
    book = allocator((None, 4), sizes[0], num_pages, prefix_reuse=False, page_sizes=sizes)
    pages, _ = book.open(range(length))
    if book.room(pages, 0) < length:
        return
    book.grow(pages, 0, length)
    book.commit(pages, range(length), length)
    live = [pages, book.fork(pages)] if shared else [pages]
    room = book.room(pages, length)
    available = book.num_available
    if room:
        book.grow(pages, length, room)
        ends = [len(table) * size for table, size in zip(pages.tables, sizes, strict=True)]
        assert min(ends) == length + room
        needed = ends.count(min(ends))  # for the token behind them
        assert book.num_available < needed, "room left out pages that were there"
    else:
        assert available < len(book.windows)
    book.check(live)


@given(
    page_size=st.integers(1, 3),
    ratio=st.integers(1, 3),
    window=st.integers(1, 14),
    length=st.integers(1, 40),
    again=st.integers(1, 50),
    step=st.integers(1, 9),
)
@settings(deadline=None, max_examples=300)
def test_pages_of_unequal_sizes_are_found_again(page_size, ratio, window, length, again, step):
    """As much as pages of equal sizes would give, and each with the tokens that it was filled with."""
    sizes = (page_size * ratio, page_size)
    book = allocator((None, window), sizes[0], num_pages=300, page_sizes=sizes)
    first, _ = compute(book, range(length), step)
    written = [table.tolist() for table in first.tables]
    owned_from = list(first.first)
    book.close(first)
    second, cached = book.open(range(again))
    even = allocator((None, window), sizes[0], num_pages=300)
    others, _ = compute(even, range(length), step)
    even.close(others)
    assert cached == even.open(range(again))[1]
    for group, (table, size) in enumerate(zip(second.tables, sizes, strict=True)):
        assert len(table) * size == cached
        for idx in range(second.first[group], len(table)):
            if idx >= owned_from[group]:  # earlier pages were noted as 0 once they were passed
                assert table[idx] == written[group][idx]
    book.check([second])
    book.close(second)
    book.check([])


def test_only_the_page_that_is_not_full_is_copied_where_sizes_are_unequal():
    book = allocator((None, 8), page_size=4, prefix_reuse=False, page_sizes=(4, 2))
    one, _ = compute(book, range(6))  # ends with half of a full layer's page
    two = book.fork(one)
    book.grow(one, 6, 1)
    assert one.copies == [(two.tables[0][1], one.tables[0][1])]
    assert one.tables[1][:3] == two.tables[1], "the sliding layers' pages are full"
    assert len(one.tables[1]) == 4
    book.check([one, two])
    book.commit(one, range(7), 7)
    three = book.fork(one)
    while book.num_available > 1:  # the copy of either group's page takes one
        book._book.allocate()
    assert book.room(three, 7) == 0
    book.close(two)
    assert book.room(three, 7) == 1


def test_deeper_pages_are_given_up_first_whatever_their_size():
    book = allocator((None, 100), page_size=4, page_sizes=(4, 2))
    pages, _ = compute(book, range(8))
    full, sliding = pages.tables
    assert pages.owned((4, 2)) == [
        full[1], sliding[3], sliding[2], full[0], sliding[1], sliding[0]
    ]  # fmt: skip


def test_sliding_pages_are_given_back_as_soon_as_no_query_reaches_them():
    book = allocator((None, 4), page_size=2, prefix_reuse=False)
    pages, _ = compute(book, range(9), step=1)
    # The next query is at position 9 and sees 6, 7, 8: pages 3 and 4.
    assert pages.first == [0, 3]
    assert book.num_held == 5 + 2


def test_without_prefix_reuse_nothing_is_kept():
    book = allocator(prefix_reuse=False)
    pages, _ = compute(book, range(10))
    book.close(pages)
    _, cached = compute(book, range(10))
    assert cached == 0


def test_the_same_prompt_again_computes_its_last_page_only():
    book = allocator()
    first, _ = compute(book, range(10))
    book.close(first)
    held_by_nobody = book.num_held
    second, cached = compute(book, range(10))
    assert (held_by_nobody, cached) == (0, 8)
    book.check([second])


def test_a_prefix_in_use_is_shared_not_copied():
    book = allocator((None,), page_size=2)
    first, _ = compute(book, range(8))
    second, cached = compute(book, [*range(6), 99, 98])
    assert cached == 6
    assert second.tables[0][:3] == first.tables[0][:3]
    assert book.num_held == 5
    book.check([first, second])


def test_a_hit_needs_the_sliding_pages_before_its_end_and_no_others():
    book = allocator((None, 4), page_size=2, num_pages=24)
    pages, _ = compute(book, range(12))
    book.close(pages)
    assert book.num_available == 24
    # 12 free pages and the four idle sliding ones from the prompt's start are used up.
    hog, _ = book.open([50] * 16)
    book.grow(hog, 0, 16)
    longer, cached = book.open([*range(12), 60])
    assert cached == 12, "every full page, and the sliding pages that the next query reaches"
    book.close(longer)
    # A hit that ends earlier would need sliding pages that are gone.
    shorter, cached = book.open(range(12))
    assert cached == 0
    book.check([hog, shorter])


def test_two_that_compute_the_same_prompt_side_by_side_end_up_sharing():
    book = allocator((None,), page_size=2)
    first, _ = book.open(range(6))
    second, _ = book.open(range(6))
    for pages in (first, second):
        book.grow(pages, 0, 6)
    for pages in (first, second):
        book.commit(pages, range(6), 6)
    assert first.tables[0] == second.tables[0]
    assert book.num_held == 3
    book.check([first, second])


def test_forks_share_everything_and_copy_the_partial_page_when_written():
    book = allocator((None, 8), page_size=4, prefix_reuse=False)
    one, _ = compute(book, range(6))
    two = book.fork(one)
    assert book.num_held == 4
    book.grow(one, 6, 1)
    assert [source for source, _ in one.copies] == [two.tables[0][1], two.tables[1][1]]
    assert [target for _, target in one.copies] == [one.tables[0][1], one.tables[1][1]]
    book.grow(two, 6, 1)
    assert two.copies == [], "the last owner writes in place"
    assert one.tables[0][0] == two.tables[0][0]
    book.check([one, two])
    book.close(one)
    book.close(two)
    book.check([])


def test_a_fork_at_a_page_boundary_copies_nothing():
    book = allocator((None,), page_size=3)
    one, _ = compute(book, range(6))
    two = book.fork(one)
    book.grow(one, 6, 1)
    book.grow(two, 6, 1)
    assert one.copies == two.copies == []
    assert one.tables[0][2] != two.tables[0][2]


def test_reuse_can_be_declined():
    book = allocator()
    first, _ = compute(book, range(10))
    second, cached = compute(book, range(10), reuse=0)
    assert cached == 0
    book.check([first, second])


def test_the_end_of_a_prefix_is_given_up_before_its_start():
    book = allocator((None,), page_size=2, num_pages=8)
    pages, _ = compute(book, range(10))
    book.close(pages)
    hog, _ = book.open([50] * 10)
    book.grow(hog, 0, 10)  # three free pages and two of the five idle ones
    again, cached = book.open(range(10))
    assert cached == 6
    book.check([hog, again])


def test_a_prefix_that_was_used_again_outlives_one_that_was_not():
    book = allocator((None,), page_size=2, num_pages=8)
    for start in (0, 20):
        pages, _ = compute(book, range(start, start + 6))
        book.close(pages)
    again, cached = book.open(range(6))
    assert cached == 4
    book.close(again)
    hog, _ = book.open([50] * 10)
    book.grow(hog, 0, 10)
    assert book.open(range(20, 26))[1] == 2
    assert book.open(range(6))[1] == 4


def test_nothing_is_remembered_of_pages_that_are_gone():
    book = allocator((None, 1), page_size=2, num_pages=20)
    for start in (0, 0, 30):
        one, _ = compute(book, range(start, start + 9))
        two = book.fork(one)
        book.close(one)
        book.close(two)
    hog, _ = book.open([50] * 20)
    book.grow(hog, 0, 20)
    assert book.num_available == 0
    assert book._tree is not None
    assert len(book._tree) == 0
    assert book._tree.num_nodes == 0
    book.close(hog)
    book.check([])


def test_a_page_that_was_full_when_sequences_parted_within_a_node_is_in_both_their_nodes():
    book = allocator((None, 8), page_size=4, page_sizes=(4, 2), num_pages=30)
    one, _ = compute(book, range(6))
    two = book.fork(one)
    shared = one.tables[1][2]  # positions 4 and 5
    for pages, ids in ((one, [*range(6), 70, 71]), (two, [*range(6), 80, 81])):
        book.grow(pages, 6, 2)
        book.commit(pages, ids, 8)
    for pages in (one, two):
        book.close(pages)
    for last in (70, 80):
        again, cached = book.open([*range(6), last, last + 1, 99])
        assert cached == 8
        assert again.tables[1][2] == shared
        book.close(again)
    hog, _ = book.open([50] * 30)
    book.grow(hog, 0, book.room(hog, 0))  # every page is taken from the tree
    assert book.open([*range(6), 70, 71, 99])[1] == 0
    assert book._tree is not None
    assert book._tree.num_nodes == 0


def test_pythons_collector_has_next_to_nothing_to_walk_over_in_a_large_cache():
    def walked_over() -> int:
        gc.collect()
        return sum(len(gc.get_referents(each)) for each in gc.get_objects())

    before = walked_over()
    book = allocator((None, 4), page_size=1, num_pages=20_000)
    pages, _ = compute(book, range(9_000), step=1_000)
    book.close(pages)
    assert book.num_available == book.num_pages
    assert book.open(range(9_001))[1] == 9_000
    assert walked_over() < before + 2_000

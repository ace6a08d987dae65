from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.cache.allocator import PageAllocator


def allocator(windows=(None, 4), page_size=2, num_pages=40, prefix_reuse=True) -> PageAllocator:
    return PageAllocator(
        windows=windows, page_size=page_size, num_pages=num_pages, prefix_reuse=prefix_reuse
    )


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
    length=st.integers(1, 40),
    step=st.integers(1, 12),
)
@settings(deadline=None, max_examples=200)
def test_a_sequence_never_owns_more_than_pages_to_hold(windows, page_size, length, step):
    book = allocator(windows, page_size, num_pages=200, prefix_reuse=False)
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
    length=st.integers(1, 20),
    num_pages=st.integers(2, 30),
    shared=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_room_is_what_grow_can_give(page_size, length, num_pages, shared):
    book = allocator((None, 4), page_size, num_pages, prefix_reuse=False)
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
        assert len(pages.tables[0]) * page_size == length + room
        assert book.num_available < len(book.windows), "room left out pages that were there"
    else:
        assert available < len(book.windows)
    book.check(live)


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
    assert book._tree.root.children == {}
    book.close(hog)
    book.check([])

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ossia.cache.pages import PageBook


class PageBookMachine(RuleBasedStateMachine):
    """The book against a dictionary of owners and an ordered list of idle pages."""

    @initialize(num_pages=st.integers(1, 6))
    def start(self, num_pages) -> None:
        self.book = PageBook(num_pages)
        self.owners = dict.fromkeys(range(num_pages), 0)
        self.retained: set[int] = set()
        self.idle: list[int] = []

    def pick(self, data, pages):
        return data.draw(st.sampled_from(sorted(pages)))

    @property
    def held(self) -> list[int]:
        return [page for page, count in self.owners.items() if count]

    @precondition(lambda self: self.book.num_free)
    @rule()
    def allocate(self) -> None:
        page = self.book.allocate()
        assert self.owners[page] == 0
        assert page not in self.retained
        self.owners[page] = 1

    @rule(most=st.integers(0, 5))
    def allocate_free(self, most) -> None:
        free = self.book.num_free
        pages = self.book.allocate_free(most)
        assert len(set(pages)) == len(pages) == min(most, free)
        for page in pages:
            assert self.owners[page] == 0
            assert page not in self.retained
            self.owners[page] = 1

    @precondition(lambda self: self.held or self.idle)
    @rule(data=st.data())
    def share(self, data) -> None:
        page = self.pick(data, self.held + self.idle)
        self.book.share(page)
        self.owners[page] += 1
        if page in self.idle:
            self.idle.remove(page)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data) -> None:
        page = self.pick(data, self.held)
        self.book.release(page)
        self.owners[page] -= 1
        if not self.owners[page] and page in self.retained:
            self.idle.append(page)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def retain(self, data) -> None:
        pages = data.draw(st.lists(st.sampled_from(sorted(self.held)), max_size=5))
        self.book.retain(pages)
        self.retained.update(pages)

    @precondition(lambda self: self.idle)
    @rule()
    def reclaim(self) -> None:
        page = self.book.reclaim()
        assert page == self.idle.pop(0), "not the least recently used"
        self.retained.remove(page)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "book"):
            return
        self.book.check()
        assert self.book.num_idle == len(self.idle)
        assert self.book.num_held == len(self.held)
        assert self.book.num_available == self.book.num_pages - len(self.held)
        assert [self.book.refs(page) for page in self.owners] == list(self.owners.values())


TestPageBookMachine = PageBookMachine.TestCase
TestPageBookMachine.settings = settings(deadline=None, max_examples=60)


@pytest.mark.parametrize("operation", ["share", "release", "retain"])
def test_a_free_page_cannot_be_owned_or_kept(operation):
    book = PageBook(2)
    with pytest.raises(AssertionError):
        getattr(book, operation)([1] if operation == "retain" else 1)


def test_check_notices_a_lost_page():
    book = PageBook(3)
    book._free.pop()
    with pytest.raises(AssertionError, match="lost"):
        book.check()


def test_check_notices_a_page_in_two_states():
    book = PageBook(3)
    book._free.append(book.allocate())
    with pytest.raises(AssertionError, match="two states"):
        book.check()

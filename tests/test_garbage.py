"""The collector pauses, and afterwards everything is as it was."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from ossia.garbage import collector_paused, freeze_garbage


@pytest.fixture(autouse=True)
def _nothing_frozen():
    """Commands that other tests run in this process freeze what they have loaded."""
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_it_goes_on_after_an_error():
    with pytest.raises(KeyError), collector_paused():
        raise KeyError
    assert gc.isenabled()


def test_it_pauses():
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_one_within_another_does_not_end_the_pause():
    with collector_paused():
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_made_meanwhile_is_old():
    with collector_paused():
        made = [[] for _ in range(1000)]
    assert any(one is made for one in gc.get_objects(generation=2))


def test_what_has_settled_is_not_looked_at_and_what_comes_later_is():
    class Cycle:
        def __init__(self) -> None:
            self.own = self

    before = weakref.ref(Cycle())
    freeze_garbage()
    after = weakref.ref(Cycle())
    gc.collect()
    assert before() is not None
    assert after() is None


def test_it_is_still_collected():
    class Knot:
        pass

    with collector_paused():
        knot = Knot()
        knot.itself = knot
        del knot
    gc.collect()
    assert not any(type(one) is Knot for one in gc.get_objects())


def test_what_the_program_froze_stays_frozen():
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with collector_paused():
            pass
        # Some may die meanwhile, by their count of references; unfreezing would leave none.
        assert gc.get_freeze_count() > frozen // 2 > 0
    finally:
        gc.unfreeze()


def test_what_is_left_at_the_end_is_not_searched_through():
    code = """if True:
        import gc, weakref
        from ossia.garbage import leave_garbage

        class Knot:
            pass

        knot = Knot()
        knot.itself = knot
        weakref.finalize(knot, print, "found").atexit = False
        del knot
        leave_garbage()
        print(gc.collect())
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "0\n"

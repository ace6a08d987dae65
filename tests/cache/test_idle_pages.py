from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.cache.idle_pages import IdlePages


@given(num_pages=st.integers(1, 6), data=st.data())
@settings(deadline=None)
def test_pages_leave_in_the_order_in_which_they_came_but_for_those_taken_out(num_pages, data):
    idle, expected = IdlePages(num_pages), list[int]()
    for _ in range(data.draw(st.integers(0, 30))):
        absent = sorted(set(range(num_pages)) - set(expected))
        action = data.draw(
            st.sampled_from(["add"] * bool(absent) + ["pop", "remove"] * bool(expected))
        )
        if action == "pop":
            assert idle.pop() == expected.pop(0)
        else:
            page = data.draw(st.sampled_from(absent if action == "add" else expected))
            getattr(idle, action)(page)
            getattr(expected, "append" if action == "add" else action)(page)
        assert list(idle) == expected
        assert len(idle) == len(expected)

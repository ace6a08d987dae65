from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ossia.server.reasoning_memory import ReasoningMemory


def test_the_longest_unused_goes_first():
    memory = ReasoningMemory(max_bytes=3 * 4 * 11)
    for name in "abc":
        memory.put(name, name * 10)
    assert memory.get("a") == "a" * 10
    memory.put("d", "d" * 10)
    assert [memory.get(name) is not None for name in "abcd"] == [True, False, True, True]


def test_what_alone_is_too_large_is_not_kept_and_drops_nothing_else():
    memory = ReasoningMemory(max_bytes=100)
    memory.put("a", "short")
    memory.put("b", "x" * 100)
    assert memory.get("a") == "short"
    assert memory.get("b") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.text(max_size=20))))
def test_it_never_holds_more_than_it_may(puts):
    memory = ReasoningMemory(max_bytes=200)
    for name, text in puts:
        memory.put(name, text)
        kept = [memory.get(one) for one in "abcdef"]
        assert sum(4 * (1 + len(one)) for one in kept if one is not None) <= 200
        if text and 4 * (1 + len(text)) <= 200:
            assert memory.get(name) == text

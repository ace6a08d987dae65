from __future__ import annotations

from ossia.server.responses.search_memory import SearchMemory
from ossia.server.responses.search_steps import STEP

A, B = {"output": "a"}, {"output": "b"}
SEARCH = {"type": "web_search_call"}
USER = {"role": "user", "content": "Hi"}


def _call(call_id):
    return {"type": "function_call", "call_id": call_id}


def _memory():
    memory = SearchMemory()
    memory.put("c1", [A])
    memory.put("c2", [B, A])
    return memory


def _steps(items):
    """What each item is: the step of a search, or its type."""
    return [item.get(STEP, item.get("type")) for item in items]


def test_searches_get_back_what_they_found_in_their_places():
    thought = {"type": "reasoning"}
    items = [USER, SEARCH, _call("c1"), thought, SEARCH, thought, SEARCH, _call("c2")]
    assert _steps(_memory().completed(items)) == [
        None,
        A,
        "function_call",
        "reasoning",
        B,
        "reasoning",
        A,
        "function_call",
    ]


def test_searches_that_were_dropped_come_before_the_call():
    for items in ([USER, _call("c2")], [USER, SEARCH, _call("c2")]):
        found = _steps(_memory().completed(items))
        assert found == [*_steps(items[:-1]), B, A, "function_call"]


def test_what_is_known_is_left_alone():
    stored = {**SEARCH, STEP: A}
    for items in (
        [USER, stored, _call("c2")],
        [USER, SEARCH, _call("c9")],
        [USER, SEARCH, {"type": "function_call", "call_id": 3}],
        [USER, SEARCH, USER],
        [],
    ):
        assert _memory().completed(items) == items


def test_calls_without_searches_take_no_room():
    memory = SearchMemory()
    memory.put("c", [])
    assert memory.get("c") == []

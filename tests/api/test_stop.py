"""Stop strings: the same text however it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.api.stop import StopStrings
from ossia.errors import RequestError

small_texts = st.text(alphabet="ab<", max_size=12)
stops = st.lists(st.text(alphabet="ab<", min_size=1, max_size=4), max_size=3)


def _run(strings: list[str], pieces: list[str]) -> tuple[str, str | None]:
    stop = StopStrings(strings)
    out = "".join(stop.push(piece) for piece in pieces)
    return out + stop.flush(), stop.found


@given(strings=stops, pieces=st.lists(small_texts, max_size=6))
def test_pieces_do_not_matter_and_nothing_of_a_stop_string_gets_out(strings, pieces):
    text = "".join(pieces)
    out, found = _run(strings, pieces)
    assert (out, found) == _run(strings, list(text))
    if found is None:
        assert out == text
        assert not any(string in text for string in strings)
    else:
        assert text.startswith(out + found)
        # Up to the last character of the match no stop string was complete.
        assert not any(string in (out + found)[:-1] for string in strings)


@given(strings=stops, pieces=st.lists(small_texts, max_size=6))
def test_only_what_may_become_a_stop_string_is_held_back(strings, pieces):
    stop = StopStrings(strings)
    seen = out = ""
    for piece in pieces:
        seen += piece
        out += stop.push(piece)
        held = seen[len(out) :]
        if stop.found is None and held:
            assert any(string.startswith(held) and string != held for string in strings)


def test_text_behind_a_stop_string_is_dropped():
    stop = StopStrings(["END"])
    assert stop.push("one E") == "one "
    assert stop.push("ND two") == ""
    assert stop.push("three") == ""
    assert stop.flush() == ""
    assert stop.found == "END"


def test_empty_stop_strings_are_refused():
    with pytest.raises(RequestError, match="stop: a stop string is empty"):
        StopStrings(["a", ""])

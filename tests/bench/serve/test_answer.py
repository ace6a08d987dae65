"""Events of a stream: what is said, when, and how it ends; however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.bench.serve.answer import StreamedAnswer, told
from ossia.errors import ServerError
from support.scripted_api import DONE, chat_event, sse, text_event, usage_event

STREAM = [
    b": a comment\n\n",
    chat_event(role="assistant", content=""),
    chat_event(reasoning="Hm", reasoning_content="Hm"),
    chat_event(content="Ja, größer"),
    b"event: message\r\n" + chat_event(content=" two words").replace(b"\n", b"\r\n"),
    chat_event(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
    chat_event(finish_reason="stop"),
    usage_event(7, 9),
    DONE,
]


def ticking() -> StreamedAnswer:
    ticks = itertools.count(1)
    return StreamedAnswer(lambda: next(ticks))


def test_only_what_says_something_is_a_piece():
    answer = ticking()
    for number, event in enumerate(STREAM, start=1):
        answer.feed(200, event)
        assert answer.ended == (number >= 7), number
    assert answer.text == ["Hm", "Ja, größer", " two words", "f{}"]
    assert answer.pieces == [3, 4, 5, 6]
    assert answer.usage == {"prompt_tokens": 7, "completion_tokens": 9}
    assert answer.error is None


@given(st.lists(st.integers(0, sum(map(len, STREAM))), max_size=40))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts):
    data, places = b"".join(STREAM), sorted({0, *cuts, sum(map(len, STREAM))})
    answer = ticking()
    for begin, end in itertools.pairwise(places):
        answer.feed(200, data[begin:end])
    assert answer.text == ["Hm", "Ja, größer", " two words", "f{}"]
    assert len(answer.pieces) == 4
    assert answer.pieces == sorted(answer.pieces)
    assert (answer.ended, answer.usage) == (True, {"prompt_tokens": 7, "completion_tokens": 9})


def test_events_that_come_together_are_pieces_of_one_moment():
    answer = ticking()
    answer.feed(200, text_event("a") + text_event("b") + text_event("c d e"))
    assert answer.pieces == [1, 1, 1]
    assert not answer.ended


def test_an_error_in_the_stream_is_kept():
    answer = ticking()
    answer.feed(200, text_event("a") + sse({"error": {"message": "out of\npages", "code": 500}}))
    assert answer.error == "out of pages"
    assert answer.pieces == [1]


@pytest.mark.parametrize("data", [b"data: {\n", b"data: 7\n", b"data: \xff\n"])
def test_what_is_no_object_is_refused(data: bytes):
    with pytest.raises(ServerError, match="no object of JSON"):
        ticking().feed(200, data)


def test_other_statuses_are_no_stream():
    answer = ticking()
    answer.feed(503, b'{"error": ')
    answer.feed(503, b'"busy"}')
    assert (answer.refusal, answer.pieces) == (b'{"error": "busy"}', [])
    answer.feed(503, b"x" * 100_000)
    assert len(answer.refusal) == 65536


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"error": {"message": "a  b"}}, "a b"),
        ({"error": "x"}, "x"),
        ({"detail": "d"}, "d"),
        ("text", "text"),
        ({"error": {"code": 1}}, "{'code': 1}"),
    ],
)
def test_errors_in_their_forms(value: object, message: str):
    assert told(value) == message

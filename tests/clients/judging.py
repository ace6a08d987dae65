"""What a user of any client must see in each kind of case."""

from __future__ import annotations

from typing import Any

Seen = dict[str, Any]

ANSWER = "There are 2 rs in the word 'berry'."
LATER_ANSWER = "There are 3 rs in the word 'strawberry'."
REASONING = "I count r"
RESULT = "Result: city Paris, sky clear, temperature 19."
CALLS = [["get_weather", {"city": "Paris"}]]


def judge(case: str, seen: Seen) -> None:
    """Hold what a client showed against what it must show.

    Args:
        case: `api/what`; words of its second part say what is expected.
        seen: What the program told of it.
    """
    what = case.partition("/")[2]
    if what == "unknown model":
        _judge_refusal(seen, 404, "does not exist here; this server offers 'demo'")
    elif what == "bad key":
        _judge_refusal(seen, 401, "Incorrect API key provided")
    elif what == "cancel and delete":
        _judge_refusal(seen, 404, "not found")
    else:
        assert "raised" not in seen, seen["trace"]
        if not seen.get("checked"):  # else the program itself has looked at it
            _judge_answer(what, seen)


def _judge_answer(what: str, seen: Seen) -> None:
    if "stream" in what and "pieces" in seen:
        assert seen["pieces"] >= 5, seen
    if "structured" in what:
        assert list(seen["data"]) == ["count"], seen
        assert type(seen["data"]["count"]) is int, seen
    elif "tools" in what or "websocket" in what:
        assert seen["calls"] == CALLS, seen
        assert seen["text"] == RESULT, seen
    elif what == "reasoning":
        assert seen["text"].startswith(REASONING), seen
    elif what == "conversation":
        assert seen["text"] == LATER_ANSWER, seen
    else:
        assert seen["text"] == ANSWER, seen
        assert seen["calls"] == [], seen


def _judge_refusal(seen: Seen, status: int, message: str) -> None:
    assert seen.get("status") == status, seen
    assert message in seen["message"], seen

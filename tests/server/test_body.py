from __future__ import annotations

from typing import Literal

import pytest

from ossia.server.api_error import ApiError
from ossia.server.body import MAX_DEPTH, RequestModel, decoded, validated


class _Text(RequestModel):
    type: Literal["text"]
    text: str


class _Image(RequestModel):
    type: Literal["image"]
    url: str


class _Message(RequestModel):
    role: str
    content: str | list[_Text | _Image]


class _Body(RequestModel):
    model: str
    messages: list[_Message]
    limit: int | None = None


def _path(body: dict) -> str | None:
    with pytest.raises(ApiError) as refusal:
        validated(body, _Body)
    assert refusal.value.status == 400
    return refusal.value.param


def test_null_is_absent_and_unknown_members_are_ignored():
    body = validated({"model": "m", "messages": [], "limit": None, "new": {"a": 1}}, _Body)
    assert body.limit is None


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param({"messages": []}, "model", id="missing"),
        pytest.param({"model": 3, "messages": []}, "model", id="type"),
        pytest.param({"model": "m", "messages": [], "limit": "3"}, "limit", id="no-conversion"),
        pytest.param({"model": "m", "messages": [], "limit": True}, "limit", id="no-bool-as-int"),
        pytest.param({"model": "m", "messages": [{"role": "x"}]}, "messages[0].content", id="deep"),
        pytest.param(
            {"model": "m", "messages": [{"role": "x", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
            id="in-a-union",
        ),
    ],
)
def test_what_is_wrong_is_said_by_its_path(body, path):
    assert _path(body) == path


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"1", id="number"),
        pytest.param(b'{"a": "\xff"}', id="no-utf-8"),
        pytest.param(b'{"a": NaN}', id="nan"),
        pytest.param(b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", id="10000-deep"),
        pytest.param(b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", id="too-deep"),
    ],
)
def test_what_is_no_object_of_json_is_refused(raw):
    with pytest.raises(ApiError) as refusal:
        decoded(raw)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_json")


def test_depth_up_to_the_limit_is_taken():
    decoded(b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")

"""What is wrong with a value is said in the hosted API's codes."""

from __future__ import annotations

import pytest

from ossia.server.api_error import ApiError
from ossia.server.body import validated
from ossia.server.chat.schemas import ChatRequest

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"temperature": -0.1}, "decimal_below_min_value"),
        ({"temperature": 2.1}, "decimal_above_max_value"),
        ({"n": 0}, "integer_below_min_value"),
        ({"top_logprobs": 21}, "integer_above_max_value"),
        ({"max_tokens": 0}, "integer_below_min_value"),
        ({"max_tokens": "5"}, "invalid_type"),
        ({"max_tokens": 5.5}, "invalid_type"),
        ({"stream": "yes"}, "invalid_type"),
        ({"tools": {}}, "invalid_type"),
        ({"messages": []}, "empty_array"),
        ({"messages": [{"role": "x"}]}, "invalid_value"),
        ({"reasoning_effort": "extreme"}, "invalid_value"),
        ({"response_format": {}}, "missing_required_parameter"),
        ({"metadata": {"a": "b" * 513}}, "string_above_max_length"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a b", "schema": {}},
                }
            },
            "invalid_value",
        ),
    ],
    ids=str,
)
def test_codes(members, code):
    with pytest.raises(ApiError) as refusal:
        validated({"messages": HI, **members}, ChatRequest)
    assert refusal.value.code == code

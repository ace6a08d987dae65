"""Values that a request must not have: found out when it is made, not in the engine's loop."""

import math

import pytest

from ossia.errors import RequestError
from ossia.types import Request, SamplingParams


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", 7),
        ("request_id", ["a"]),
        ("prompt_ids", None),
        ("prompt_ids", 5),
        ("deadline", "soon"),
        ("deadline", None),
        ("deadline", math.nan),
        ("priority", "high"),
        ("priority", 1.5),
        ("priority", None),
    ],
)
def test_requests_of_wrong_types_are_refused(field, value):
    with pytest.raises(RequestError, match=f"^{field}: ") as caught:
        Request(**{"request_id": "a", "prompt_ids": (1,), field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logit_bias", None),
        ("logit_bias", [5]),
        ("logit_bias", {5: "much"}),
        ("logit_bias", {5: None}),
        ("logit_bias", {5: math.nan}),
        ("logit_bias", {5: math.inf}),
        ("stop_token_ids", None),
        ("stop_token_ids", 5),
        ("temperature", "1"),
        ("temperature", None),
        ("max_tokens", 1.0),
        ("n", None),
        ("top_k", None),
        ("min_tokens", None),
    ],
)
def test_sampling_of_wrong_types_is_refused(field, value):
    with pytest.raises(RequestError, match=f"^{field}: "):
        SamplingParams(**{field: value})


def test_ids_are_taken_from_whatever_can_be_gone_through():
    ids = [3, 4]
    request = Request(
        request_id="a", prompt_ids=ids, sampling=SamplingParams(stop_token_ids=iter(ids))
    )
    ids.append(5)
    assert request.prompt_ids == (3, 4)
    assert request.sampling.stop_token_ids == (3, 4)

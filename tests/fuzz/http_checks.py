"""What `fuzz.http` asks of every answer besides schemathesis' own checks."""

from __future__ import annotations

import schemathesis

_NO_FIELD = ("invalid_json", "invalid_api_key", "not_offered")


@schemathesis.check
def refusals_name_their_field(ctx, response, case) -> None:
    """A body or query that is refused is refused for a field, whose path stands in the error."""
    del ctx, case
    if response.status_code != 400:
        return
    error = response.json()["error"]
    assert error["message"], "a refusal says nothing"
    if "param" in error and error["code"] not in _NO_FIELD:
        assert error["param"], f"no field is named: {error['message']}"


@schemathesis.check
def answers_have_an_id(ctx, response, case) -> None:
    """Whatever is answered can be found in the log."""
    del ctx, case
    assert response.headers.get("x-request-id"), "no x-request-id"

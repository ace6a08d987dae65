"""JsonResponse: objects as JSON by orjson, and refusals among them."""

from __future__ import annotations

import math
from typing import Any

import orjson
from starlette.responses import Response

from ossia.server.api_error import ApiError


class JsonResponse(Response):
    """An object as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401
        """The body."""
        return orjson.dumps(content)


def error_response(error: ApiError) -> JsonResponse:
    """A refusal, with when to come again where that may help."""
    response = JsonResponse(error.to_dict(), status_code=error.status)
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        response.headers["retry-after-ms"] = str(max(1, round(error.retry_after * 1000)))
    return response

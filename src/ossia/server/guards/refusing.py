"""refuse: the answer of a guard, over HTTP or before a WebSocket is accepted."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from ossia.server.api_error import ApiError
from ossia.server.json_response import error_response

_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


async def refuse(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    """Answer with an error; a WebSocket is closed, with the same answer where that can be sent."""
    response = error_response(error)
    if scope["type"] == "http":
        await response(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await send(
            {
                "type": "websocket.http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
        )
        await send({"type": "websocket.http.response.body", "body": bytes(response.body)})
    else:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.message})


def header_values(scope: Scope, name: bytes) -> list[str]:
    """All values of a header; ASGI gives names in lower case."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key == name]

"""OriginGuard: web pages may call only from origins that were allowed; these get CORS headers."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ossia.server.api_error import ApiError
from ossia.server.guards.refusing import header_values, refuse

_METHODS = b"GET, POST, DELETE, OPTIONS"
_EXPOSED = b"x-request-id, retry-after, x-ossia-ignored, x-ossia-left-out"
_MAX_AGE = b"600"  # seconds


class OriginGuard:
    """Refuses requests that another site's page makes.

    A page of this server itself is always taken. Without allowed origins there are no CORS headers
    at all.

    Args:
        app: What is guarded.
        allowed: Origins such as `https://example.org`; "*" is any.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str]) -> None:
        self._app = app
        self._allowed = frozenset(origin.lower().rstrip("/") for origin in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, refuse it, or answer a preflight."""
        origins = [] if scope["type"] == "lifespan" else header_values(scope, b"origin")
        if not origins:
            await self._app(scope, receive, send)
            return
        origin = origins[0].lower()
        if len(origins) > 1 or not (self._is_allowed(origin) or _is_same(origin, scope)):
            message = (
                f"pages of {origin[:100]!r} may not call this server; if they should, "
                "start `ossia serve` with --allow-origin"
            )
            error = ApiError(message, status=403, code="origin_not_allowed")
            await refuse(scope, receive, send, error)
            return
        if not self._is_allowed(origin) or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cors = [
            (b"access-control-allow-origin", origins[0].encode("latin-1")),
            (b"vary", b"Origin"),
        ]
        if scope["method"] == "OPTIONS":
            await _answer_preflight(scope, send, cors)
            return

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                exposed = (b"access-control-expose-headers", _EXPOSED)
                message["headers"] = [*message.get("headers", ()), *cors, exposed]
            await send(message)

        await self._app(scope, receive, send_with_cors)

    def _is_allowed(self, origin: str) -> bool:
        return "*" in self._allowed or origin in self._allowed


def _is_same(origin: str, scope: Scope) -> bool:
    hosts = header_values(scope, b"host")
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    return len(hosts) == 1 and origin == f"{scheme}://{hosts[0].lower()}"


async def _answer_preflight(scope: Scope, send: Send, cors: list[tuple[bytes, bytes]]) -> None:
    wanted = header_values(scope, b"access-control-request-headers")
    headers = [
        *cors,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", ", ".join(wanted).encode("latin-1") or b"*"),
        (b"access-control-max-age", _MAX_AGE),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})

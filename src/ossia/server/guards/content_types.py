"""ContentTypeGuard: bodies must say that they are JSON.

Pages of other sites cannot say that without asking first.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from ossia.server.api_error import ApiError
from ossia.server.guards.refusing import header_values, refuse


class ContentTypeGuard:
    """Refuses bodies of other types.

    Args:
        app: What is guarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "http" and _has_body(scope) and not _is_json(scope):
            given = ", ".join(header_values(scope, b"content-type")) or "none"
            message = (
                f"the body must be JSON: send `Content-Type: application/json`, not {given[:80]}"
            )
            error = ApiError(message, status=415, code="unsupported_media_type")
            await refuse(scope, receive, send, error)
            return
        await self._app(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    lengths = header_values(scope, b"content-length")
    return any(length.strip() != "0" for length in lengths) or bool(
        header_values(scope, b"transfer-encoding")
    )


def _is_json(scope: Scope) -> bool:
    types = header_values(scope, b"content-type")
    if len(types) != 1:
        return False
    name, *parameters = (part.strip().lower() for part in types[0].split(";"))
    charsets = [each for each in parameters if each.startswith("charset=")]
    return name == "application/json" and all(
        each.removeprefix("charset=").strip('"') in ("utf-8", "utf8", "us-ascii")
        for each in charsets
    )

"""HostGuard: only names that are meant for this server.

Otherwise a web page could reach it by a name of its own that points here (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from ossia.server.api_error import ApiError
from ossia.server.guards.refusing import header_values, refuse

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})


class HostGuard:
    """Refuses requests whose Host header is not of this server.

    Addresses and `localhost` are always taken: a page that got here by rebinding sends its name.

    Args:
        app: What is guarded.
        bound: The address that the server listens on.
        allowed: Further names; "*" is any.
    """

    def __init__(self, app: ASGIApp, bound: str, allowed: Iterable[str]) -> None:
        self._app = app
        names = {bound, *allowed, "localhost"}
        if bound in _WILDCARDS:
            names.add(socket.gethostname())
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        hosts = header_values(scope, b"host")
        if not hosts and scope.get("http_version") == "1.1":  # RFC 9112, section 3.2
            error = ApiError("HTTP/1.1 needs a Host header", code="host_missing")
            await refuse(scope, receive, send, error)
            return
        if len(hosts) > 1 or (hosts and not self._is_ours(hosts[0])):
            shown = ", ".join(hosts)[:100]
            message = (
                f"the Host header {shown!r} does not name this server; if it should, "
                "start `ossia serve` with --allow-host"
            )
            error = ApiError(message, status=403, code="host_not_allowed")
            await refuse(scope, receive, send, error)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower().rstrip(".")
        return (
            "*" in self._names
            or name in self._names
            or name.endswith(".localhost")
            or _is_address(name.strip("[]"))
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

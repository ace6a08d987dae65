"""KeyGuard: no route but the health checks without an API key, if there are any."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from ossia.errors import ConfigError
from ossia.server.api_error import ApiError
from ossia.server.guards.refusing import header_values, refuse

OPEN_PATHS = frozenset({"/health", "/ready"})
_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")


def key_digest(key: str) -> bytes:
    """What is kept of a key.

    Args:
        key: The key, or `sha256:` and the hex digits of its SHA-256.

    Raises:
        ConfigError: it is empty, or holds what no header can.
    """
    if (hashed := _HASHED.fullmatch(key)) is not None:
        return bytes.fromhex(hashed[1])
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError("an API key must be printable ASCII without spaces")
    return hashlib.sha256(key.encode()).digest()


class KeyGuard:
    """Asks for a key in `Authorization: Bearer` or `x-api-key`; the same keys count in both.

    Args:
        app: What is guarded.
        keys: As `key_digest` takes them; none lets everything through.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        self._digests = tuple(map(key_digest, keys))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan" or not self._digests or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = list(_keys_of(scope))
        if any(map(self._is_known, given)):
            await self._app(scope, receive, send)
            return
        why = "Incorrect API key provided." if given else "You did not provide an API key."
        hint = "Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`."
        await refuse(
            scope, receive, send, ApiError(f"{why} {hint}", status=401, code="invalid_api_key")
        )

    def _is_known(self, key: str) -> bool:
        digest = hashlib.sha256(key.encode()).digest()
        # Every digest is looked at, so that time tells nothing.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _keys_of(scope: Scope) -> Iterator[str]:
    for value in header_values(scope, b"authorization"):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer" and key.strip():
            yield key.strip()
    for value in header_values(scope, b"x-api-key"):
        if value.strip():
            yield value.strip()

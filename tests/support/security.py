"""What tests of attacks share: keys, a body, every route that there is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.routing import Route, WebSocketRoute

from ossia.server.app import GROUPS, create_app
from ossia.server.guards.keys import key_digest
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from support.api_client import MODEL
from support.http_server import serving
from support.scripted_service import ScriptedService

KEY = "secret-key-1"
KEYS = {"api_keys": (KEY, "sha256:" + key_digest("other").hex())}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
RESPONSE = {"model": MODEL, "input": "Hi"}
COMPLETION = {"model": MODEL, "prompt": "Hi"}
MESSAGE = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSE,
    "/v1/completions": COMPLETION,
    "/v1/messages": MESSAGE,
}
"""A good body for each route that has the model answer."""

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
_PARAMETER = re.compile(r"\{[^}]*\}")


@contextmanager
def serving_everything(
    service: ScriptedService | None = None, **settings: Any
) -> Iterator[tuple[str, ServerState]]:
    """A server that also keeps responses, so that it has all routes; its address and state."""
    store = SqliteStore()
    state = ServerState(
        settings=ServerSettings(**settings), service=service or ScriptedService(), store=store
    )
    with serving(create_app(state)) as address:
        yield address, state
    asyncio.run(store.close())


def routes(state: ServerState) -> list[Route | WebSocketRoute]:
    """All routes of a server."""
    return [route for group in GROUPS for route in group(state)]


def http_routes(fill: str = "x") -> list[tuple[str, str]]:
    """Method and path of every route over HTTP; its parameters are `fill`."""
    store = SqliteStore()
    state = ServerState(settings=ServerSettings(), service=ScriptedService(), store=store)
    found = [
        (method, _PARAMETER.sub(lambda _: fill, route.path))
        for route in routes(state)
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]
    asyncio.run(store.close())
    assert len(found) > 30
    return found


def with_ids() -> list[tuple[str, str]]:
    """Method and path, with `{}` in it, of every route that takes an id."""
    return [(method, path) for method, path in http_routes("{}") if "{}" in path]

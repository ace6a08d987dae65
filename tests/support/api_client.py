"""Applications over scripted models, and clients for them.

Starting and ending a server takes longer than most tests, so those of the same settings share one.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from openai import OpenAI

from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from support.http_server import serving
from support.scripted_service import ScriptedService

MODEL = "gpt-oss-test"


class ServiceSlot:
    """A service that hands everything on to the one whose turn it is."""

    def __init__(self) -> None:
        self.current = ScriptedService()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current, name)


_servers: dict[ServerSettings, tuple[ServiceSlot, str]] = {}
_until_exit = ExitStack()
atexit.register(_until_exit.close)


@contextmanager
def serving_script(service: ScriptedService, **settings: Any) -> Iterator[str]:
    """A server over a scripted model; gives its address."""
    key = ServerSettings(**settings)
    if key not in _servers:
        slot = ServiceSlot()
        app = create_app(ServerState(settings=key, service=slot))
        _servers[key] = slot, _until_exit.enter_context(serving(app))
    slot, address = _servers[key]
    slot.current = service
    yield address


@contextmanager
def openai_client(service: ScriptedService, **settings: Any) -> Iterator[OpenAI]:
    """The hosted API's own client, for a server over a scripted model."""
    with (
        serving_script(service, **settings) as address,
        OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=20) as client,
    ):
        yield client

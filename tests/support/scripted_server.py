"""`python -m support.scripted_server '{"port": 0, ...}'`: a scripted model, served until a signal.

It says a hundred words; the seed of a request is the pause between them in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from ossia.errors import EngineClosedError
from ossia.server.launch import open_store
from ossia.server.listening import listen, url_of
from ossia.server.service import ServiceState
from ossia.server.serving import serve
from ossia.server.settings import ServerSettings
from ossia.types import Request, TokenOutput
from support.scripted_service import ScriptedService

_WORDS = "<|channel|>final<|message|>" + " word" * 100


class StartedScriptedService(ScriptedService):
    """A script that takes its time, and ends with the server."""

    def start(self) -> None:
        self.closed = False

    async def drain(self, seconds: float) -> bool:
        self.state = ServiceState.DRAINING
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:  # noqa: ASYNC110 - happens once
            await asyncio.sleep(0.01)
        return not self.running

    async def close(self) -> None:
        self.closed = True

    async def stream(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        pause = (request.sampling.seed or 0) / 1000
        async for output in super().stream(request):
            await asyncio.sleep(pause)
            if self.closed:
                raise EngineClosedError("the engine was shut down")
            yield output


def main() -> int:
    raw = json.loads(sys.argv[1])
    for name in ("tls_certificate", "tls_key"):
        if name in raw:
            raw[name] = Path(raw[name])
    settings = ServerSettings(**raw)
    service = StartedScriptedService(_WORDS)
    with listen(settings) as listener:
        url = url_of(listener, settings)
        store = open_store(settings)
        unhurried = serve(
            service, settings, listener, store=store, on_start=lambda _stop: print(url, flush=True)
        )
    return 0 if unhurried else 130


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m clients.agent_server`: what `ossia serve` runs, over the engine of `agent_worker`."""

from __future__ import annotations

import asyncio
import logging
import sys

from ossia.server.engine.service import EngineService
from ossia.server.listening import listen, url_of
from ossia.server.serving import serve
from ossia.server.settings import ServerSettings
from ossia.server.store import SqliteStore

MODEL = "gpt-oss-20b"


def main() -> int:
    """Serve until a signal comes; the access log goes to stderr."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ossia.access").setLevel(logging.INFO)
    settings = ServerSettings(port=0)
    service = EngineService(MODEL, (sys.executable, "-m", "clients.agent_worker"), settings)
    tasks: set[asyncio.Task[None]] = set()

    async def tell_when_ready() -> None:
        await service.wait_ready()
        print("The model is ready", flush=True)

    with listen(settings) as listener:
        print(url_of(listener, settings), flush=True)
        unhurried = serve(
            service,
            settings,
            listener,
            store=SqliteStore(),
            on_start=lambda stop: tasks.add(
                asyncio.get_running_loop().create_task(tell_when_ready())
            ),
        )
    return 0 if unhurried else 1


if __name__ == "__main__":
    sys.exit(main())

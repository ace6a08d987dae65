"""`python -m support.engine_server JSON`: what `ossia serve` runs, over an engine that plays scripts.

JSON holds settings of the server, and under "script" those of `support.scripted_worker.Script`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from ossia.server.engine.service import EngineService
from ossia.server.listening import listen, url_of
from ossia.server.serving import serve
from ossia.server.settings import ServerSettings
from ossia.server.store import SqliteStore
from support.scripted_engine import TOKENIZER
from support.scripted_service import HELLO
from support.scripted_worker import Script

MODEL = "gpt-oss-test"
_CALL = (
    "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
)
_PREAMBLE = "<|channel|>commentary<|message|>First I look.<|end|><|start|>assistant"
_MALFORMED = "<|end|><|start|>user to=<|channel|><|message|>\N{SNOWMAN}<|channel|>final"
SCRIPTS = (HELLO, _CALL, _PREAMBLE + _CALL, _MALFORMED)


def main() -> int:
    """Serve until a signal comes."""
    logging.basicConfig(format="%(message)s")
    given: dict[str, Any] = json.loads(sys.argv[1])
    played = {"scripts": list(map(_ids, SCRIPTS)), "vocabulary": True}
    script = Script(**given.pop("script", played))
    given["api_keys"] = tuple(given.get("api_keys", ()))
    settings = ServerSettings(**{"port": 0, **given})
    service = EngineService(MODEL, script.command(), settings)
    tasks: set[asyncio.Task[None]] = set()

    async def tell_when_ready() -> None:
        await service.wait_ready()
        print("The model is ready", flush=True)

    def on_start(stop: object) -> None:
        del stop
        tasks.add(asyncio.get_running_loop().create_task(tell_when_ready()))

    with listen(settings) as listener:
        print(url_of(listener, settings), flush=True)
        unhurried = serve(service, settings, listener, store=SqliteStore(), on_start=on_start)
    return 0 if unhurried else 1


def _ids(script: str) -> list[int]:
    return TOKENIZER.encode_with_special(script)


if __name__ == "__main__":
    sys.exit(main())

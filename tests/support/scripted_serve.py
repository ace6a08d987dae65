"""The real `ossia serve`, whose engine process may play scripts, and which says what it holds.

    python -m support.scripted_serve '["python", "-m", ...]' serve demo --port 0 ...

The first argument is the command line of the engine process (`null` for the real one), the rest is
the command's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ossia.cli.main import main
from ossia.cli.serve import restart_with_allocator
from ossia.server.engine.spec import WorkerSpec
from support import census


def command(engine: Sequence[str] | None, *arguments: str, model: str = "demo") -> list[str]:
    """The command line of `ossia serve` with these arguments and that engine process."""
    start = [sys.executable, "-m", "support.scripted_serve", json.dumps(engine)]
    return [*start, "serve", model, "--port", "0", *arguments]


if __name__ == "__main__":
    restart_with_allocator()
    engine = json.loads(sys.argv.pop(1))
    if engine is not None:
        WorkerSpec.command = lambda _self: tuple(engine)  # type: ignore[method-assign]
    census.answer_in_background()
    raise SystemExit(main())

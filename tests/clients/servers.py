"""The server that the clients are tried with."""

from __future__ import annotations

import sys

KEY = "sk-test"


def demo_command() -> list[str]:
    """`ossia serve demo`, with a key."""
    return [sys.executable, "-m", "ossia", "serve", "demo", "--port", "0", "--api-key", KEY]

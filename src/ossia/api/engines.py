"""What an answer needs of an engine, wherever that runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Protocol

from ossia.types import Request, TokenOutput


class TokenEngine(Protocol):
    """Runs requests for callers that wait."""

    def stream(self, request: Request) -> Generator[TokenOutput, None, None]:
        """Run one request, each output as it comes; closing the generator aborts it."""
        ...


class AsyncTokenEngine(Protocol):
    """Runs requests for callers that await."""

    def stream(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """Run one request, each output as it comes; closing the generator aborts it."""
        ...

"""EventLog: the events of a response's stream, numbered without a gap."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]


class EventLog:
    """Collects events until somebody takes them."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: list[JsonObject] = []

    def emit(self, kind: str, **fields: object) -> None:
        """Add an event.

        Args:
            kind: Its `type`.
            fields: All else that it holds; objects in it must not change any more.
        """
        self._waiting.append({"type": kind, "sequence_number": self._next, **fields})
        self._next += 1

    def take(self) -> list[JsonObject]:
        """The events since the last time."""
        taken, self._waiting = self._waiting, []
        return taken

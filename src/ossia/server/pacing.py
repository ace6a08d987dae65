"""Pacing: how often events are made of what the model writes, so that all streams keep up.

An event, and above all its write to a socket, costs more than a token. So with many streams open,
each is served less often, and what has come meanwhile goes out as one event. The first event
behind a silence never waits, and with few streams none does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_EVENTS_PER_SECOND: Final = 5_000.0
_NOT_WORTH_IT: Final = 0.002  # seconds


class Pacing:
    """Counts the streams of a server."""

    def __init__(self) -> None:
        self._num_open = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """While a stream is open."""
        self._num_open += 1
        try:
            yield
        finally:
            self._num_open -= 1

    @property
    def pause(self) -> float:
        """Seconds that a stream is left alone after an event."""
        pause = self._num_open / _EVENTS_PER_SECOND
        return pause if pause >= _NOT_WORTH_IT else 0.0

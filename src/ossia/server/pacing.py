"""Pacing: how often streams are written to, so that all of them together keep up.

A write to a socket costs as much as making several events. So with many streams open, each is
written to less often, and what has come meanwhile goes out as one event. The first event behind a
pause never waits, and with few streams none does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_WRITES_PER_SECOND: Final = 5_000.0
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
        """Seconds that a stream is left alone after a write."""
        pause = self._num_open / _WRITES_PER_SECOND
        return pause if pause >= _NOT_WORTH_IT else 0.0

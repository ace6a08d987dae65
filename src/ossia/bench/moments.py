"""Moments: what memory gives, measured while a model decodes."""

from __future__ import annotations

import time
from collections.abc import Callable


class Moments:
    """Measures the read bandwidth between some steps, by a clock that stands still meanwhile.

    Where it changes from second to second, what it is before and after tells little of what the steps
    between got.

    Args:
        reads: Measures it, bytes a second.
        every: Steps from one time to the next; the first is behind the first step.
    """

    def __init__(self, reads: Callable[[], float], every: int = 8) -> None:
        self._reads, self._every = reads, every
        self._steps, self._away = 0, 0.0
        self._found: list[float] = []

    def clock(self) -> float:
        """Seconds, without those that measuring took."""
        return time.perf_counter() - self._away

    def between_steps(self) -> None:
        """To be called behind every step."""
        if self._steps % self._every == 0:
            begun = time.perf_counter()
            self._found.append(self._reads())
            self._away += time.perf_counter() - begun
        self._steps += 1

    def bandwidth(self) -> float:
        """Bytes a second over all of them: what as many bytes at each would take together."""
        return len(self._found) / sum(1 / each for each in self._found)

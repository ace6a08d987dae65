"""AdmissionControl: how much may wait for the engine, and when to ask again if it is too much."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ossia.server.api_error import ApiError

_MEMORY = 30.0  # seconds over which the engine's pace is taken
_TOGETHER = 1.0  # seconds that count as one moment of it
_RETRY_RANGE = (1.0, 60.0)
_RETRY_UNKNOWN = 5.0  # seconds, while nothing has been started lately


class AdmissionControl:
    """Counts requests from their admission to their end; waits for nothing. For one event loop.

    Args:
        max_queue: Requests that may wait beside those that the engine can run.
        max_queued_tokens: Prompt tokens that may wait. A request that would wait alone is always
            let in; whether it fits the model is for the engine to say.
        clock: Seconds.

    Attributes:
        max_running: Continuations that the engine runs side by side; known once it is ready.
        waiting: Requests that have produced nothing yet.
        running: Those that have.
    """

    def __init__(
        self,
        *,
        max_queue: int,
        max_queued_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_queue = max_queue
        self._max_queued_tokens = max_queued_tokens
        self._clock = clock
        # Since when, requests, prompt tokens: what began in about the same second is one entry.
        self._started: deque[tuple[float, int, int]] = deque()
        self._waiting_tokens = 0
        self.max_running = 0
        self.waiting = 0
        self.running = 0

    def admit(self, num_tokens: int) -> Ticket:
        """Let a request in.

        Args:
            num_tokens: Of its prompt.

        Raises:
            ApiError: 429; too much waits already.
        """
        if self.waiting + self.running >= self.max_running + self._max_queue:
            raise ApiError.overloaded(
                f"{self.waiting} requests wait for the model already; ask again later",
                retry_after=self._retry_after(),
            )
        if self.waiting and self._waiting_tokens + num_tokens > self._max_queued_tokens:
            raise ApiError.overloaded(
                f"prompts of {self._waiting_tokens} tokens wait for the model already; "
                "ask again later",
                retry_after=self._retry_after(),
            )
        return self.note(num_tokens)

    def note(self, num_tokens: int) -> Ticket:
        """Count a request that is let in whatever waits, as the later turns of an answer are."""
        self.waiting += 1
        self._waiting_tokens += num_tokens
        return Ticket(self, num_tokens)

    def start(self, num_tokens: int) -> None:
        """A request has produced something for the first time."""
        self.waiting -= 1
        self._waiting_tokens -= num_tokens
        self.running += 1
        since, requests = self._clock(), 1
        if self._started and since - self._started[-1][0] < _TOGETHER:
            since, others, other_tokens = self._started.pop()
            requests += others
            num_tokens += other_tokens
        self._started.append((since, requests, num_tokens))
        self._forget()

    def end(self, num_tokens: int, *, started: bool) -> None:
        """A request has ended."""
        if started:
            self.running -= 1
        else:
            self.waiting -= 1
            self._waiting_tokens -= num_tokens

    def _retry_after(self) -> float:
        """Seconds in which half of what waits will have been started, at the recent pace.

        Sooner the queue would be found full again; much later the engine might be idle.
        """
        self._forget()
        if not self._started:
            return _RETRY_UNKNOWN
        seconds = max(self._clock() - self._started[0][0], 1.0)
        requests = sum(requests for _, requests, _ in self._started) / seconds
        tokens = sum(num_tokens for _, _, num_tokens in self._started) / seconds
        needed = max(self.waiting / 2 / requests, self._waiting_tokens / 2 / max(tokens, 1.0))
        low, high = _RETRY_RANGE
        return min(max(needed, low), high)

    def _forget(self) -> None:
        oldest = self._clock() - _MEMORY
        while self._started and self._started[0][0] < oldest:
            self._started.popleft()


class Ticket:
    """The place of one request in the counts; its methods may be called again for nothing."""

    __slots__ = ("_control", "_ended", "_num_tokens", "_started")

    def __init__(self, control: AdmissionControl, num_tokens: int) -> None:
        self._control = control
        self._num_tokens = num_tokens
        self._started = False
        self._ended = False

    def start(self) -> None:
        """It has produced something."""
        if not (self._started or self._ended):
            self._started = True
            self._control.start(self._num_tokens)

    def end(self) -> None:
        """It has ended, however."""
        if not self._ended:
            self._ended = True
            self._control.end(self._num_tokens, started=self._started)

"""Lookahead: sets of next tokens are worked out while the model computes the logits."""

from __future__ import annotations

import os
import threading
import time
from queue import SimpleQueue
from typing import Final

from llguidance import LLMatcher

from ossia.structured.compiling import NextTokens, next_tokens

_MAX_THREADS: Final = 4


class PendingTokens:
    """What may come next, being worked out by whoever gets to it first.

    Args:
        matcher: Not to be used by others until `result` was called.
    """

    __slots__ = ("_claim", "_done", "_error", "_matcher", "_result", "seconds")

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._claim, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()
        self._result: NextTokens | None = None
        self._error: Exception | None = None
        self.seconds = 0.0  # of processor time that it took

    def work(self) -> None:
        """Work it out, unless somebody does."""
        if not self._claim.acquire(blocking=False):
            return
        begun = time.thread_time()
        try:
            self._result = next_tokens(self._matcher)
        except Exception as error:
            self._error = error
        finally:
            self.seconds = time.thread_time() - begun
            self._done.release()

    def result(self) -> NextTokens:
        """Wait for it, or work it out here if nobody has begun.

        Raises:
            ValueError: the grammar has become too complex.
        """
        self.work()
        with self._done:
            if self._error is not None:
                raise self._error
            assert self._result is not None
            return self._result


class Lookahead:
    """Threads that work things out; made when first needed, and anew in a forked process."""

    def __init__(self) -> None:
        self._queue = SimpleQueue[PendingTokens]()
        self._process = -1

    def start(self, matcher: LLMatcher) -> PendingTokens:
        """Begin with the next tokens of a matcher."""
        if self._process != os.getpid():
            self._process, self._queue = os.getpid(), SimpleQueue[PendingTokens]()
            for _ in range(min(_MAX_THREADS, os.cpu_count() or 1)):
                thread = threading.Thread(
                    target=_serve, args=(self._queue,), name="ossia-masks", daemon=True
                )
                thread.start()
        pending = PendingTokens(matcher)
        self._queue.put(pending)
        return pending


def _serve(queue: SimpleQueue[PendingTokens]) -> None:
    while True:
        queue.get().work()

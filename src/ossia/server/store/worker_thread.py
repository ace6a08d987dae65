"""WorkerThread: a database and the one thread that uses it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from ossia.errors import StoreError, StoreUnreachableError
from ossia.server.store.database import Database

T = TypeVar("T")
Work = Callable[[Database], T]
Job = tuple[Work[Any], "Future[Any]"]

_MOST_AT_ONCE = 256  # jobs of one transaction


class Session(Protocol):
    """A connection, and how a transaction is made there."""

    def transact(self, jobs: Sequence[Work[Any]]) -> list[Any]:
        """Run jobs in one transaction; all of them happen, or none.

        Raises:
            StoreUnreachableError: no job can be run, now.
            StoreError: the database refuses, at least one of them.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class WorkerThread:
    """Runs jobs one after the other; those that wait together share one transaction.

    So a hundred writers pay for one sync to the disk, and none is told of success before it.

    Args:
        session: Used by nobody else from now on.
        name: Of the thread.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # no job may follow the None that ends the thread
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Work[T]) -> T:
        """Run a job on the thread.

        Once begun, it is not undone if the waiting task is cancelled.

        Raises:
            StoreError: the database failed, or the store is closed.
        """
        return await asyncio.wrap_future(self.submit(job))

    def submit(self, job: Work[T]) -> Future[T]:
        """The same for those who need not wait.

        Raises:
            StoreError: the store is closed.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # a cancelled waiter cannot take the job back
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            self._jobs.put((job, future))
        return future

    def close(self) -> None:
        """Run what was asked for, then end; safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch: list[Job] = []
            job = self._jobs.get()
            while job is not None:
                batch.append(job)
                if len(batch) == _MOST_AT_ONCE or self._jobs.empty():
                    break
                job = self._jobs.get()
            ended = job is None
            if batch:
                self._transact(batch)
        self._session.close()

    def _transact(self, batch: list[Job]) -> None:
        """All jobs in one transaction; if one fails, each in a transaction of its own."""
        try:
            results = self._session.transact([work for work, _ in batch])
        except Exception as error:
            if len(batch) == 1 or isinstance(error, StoreUnreachableError):
                for _, future in batch:
                    future.set_exception(error)
                return
            for job in batch:
                self._transact([job])
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

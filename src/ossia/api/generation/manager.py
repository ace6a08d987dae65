"""ContinuousBatchingManager: requests come and go while a thread runs the engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Self

from ossia.api.generation.continuous_config import GenerationOutput
from ossia.api.generation.request_book import Prepared, RequestBook
from ossia.errors import EngineClosedError, RequestError
from ossia.log import logger

_log = logger(__name__)


class ContinuousBatchingManager:
    """Serves requests from any thread, each with settings of its own.

    Args:
        book: Used by nobody else.
        max_queue_size: Requests that may wait for the thread; 0 is no limit.
    """

    def __init__(self, book: RequestBook, *, max_queue_size: int = 0) -> None:
        self._book = book
        self._max_queue_size = max_queue_size
        self._lock = threading.Condition()
        # Guarded by the lock: what callers ask for, what they get, and who is on the way.
        self._orders: deque[Prepared | str] = deque()
        self._results: deque[GenerationOutput] = deque()
        self._live: set[str] = set()
        self._num_made = 0
        self._stopping: bool | None = None  # False: finish first; True: at once
        self._thread: threading.Thread | None = None
        self._failure: str | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop(hard_stop=exc_info[0] is not None)

    def start(self) -> None:
        """Start the thread; safe to call twice."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ossia-batching", daemon=True)
            self._thread.start()

    def is_running(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def add_request(
        self,
        input_ids: list[int],
        request_id: str | None = None,
        max_new_tokens: int | None = None,
        streaming: bool = False,
        record_timestamps: bool = False,
        eos_token_id: int | list[int] | None = None,
        **settings: Any,
    ) -> str:
        """Queue a prompt.

        Args:
            input_ids: Its ids, a list or a tensor (seq,).
            request_id: What to call it; None makes up `req_N`.
            max_new_tokens: Output tokens at most; None goes by the manager's settings, and without
                those up to the model's context.
            streaming: Deliver a result after each token.
            record_timestamps: Fill `timestamps` of the result.
            eos_token_id: Tokens that end it; None goes by the manager's settings.
            settings: Of this request: temperature, top_p, top_k, min_p, do_sample, ...

        Returns:
            The request's name.

        Raises:
            RequestError: it cannot be served; names the argument.
            EngineClosedError: the manager was stopped.
        """
        ids = input_ids.tolist() if hasattr(input_ids, "tolist") else list(input_ids)  # type: ignore[union-attr]
        with self._lock:
            name = request_id if request_id is not None else self._new_name()
        prepared = self._book.prepare(
            ids,
            name,
            streaming=streaming,
            timed=record_timestamps,
            max_new_tokens=max_new_tokens,
            eos_token_id=eos_token_id,
            **settings,
        )
        with self._lock:
            self._check_open(name)
            self._live.add(name)
            self._orders.append(prepared)
            self._lock.notify_all()
        return name

    def add_requests(
        self,
        inputs: list[list[int]],
        max_new_tokens: int | None = None,
        streaming: bool = False,
        record_timestamps: bool = False,
        **settings: Any,
    ) -> list[str]:
        """Queue several prompts; their names, in order. Arguments as for `add_request`."""
        return [
            self.add_request(
                ids,
                max_new_tokens=max_new_tokens,
                streaming=streaming,
                record_timestamps=record_timestamps,
                **settings,
            )
            for ids in inputs
        ]

    def cancel_request(self, request_id: str) -> None:
        """End a request; its result says that it failed. Nothing happens if it has ended."""
        with self._lock:
            self._orders.append(request_id)
            self._lock.notify_all()

    def get_result(
        self, request_id: str | None = None, timeout: float | None = None
    ) -> GenerationOutput | None:
        """The next result.

        Args:
            request_id: Of this request; None takes any.
            timeout: Seconds to wait; None waits as long as there can be one.

        Returns:
            None if none came in time, or none can come.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while (found := self._take_result(request_id)) is None:
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0) or not self._may_come(request_id):
                    return None
                self._lock.wait(left)
            return found

    def __iter__(self) -> Iterator[GenerationOutput]:
        """Results as they come, until the manager is stopped and all are taken."""
        while self.is_running() or self._results:
            result = self.get_result(timeout=0.1)
            if result is not None:
                yield result

    def request_id_iter(self, request_id: str) -> Iterator[GenerationOutput]:
        """The results of one request, until it has ended."""
        while (result := self.get_result(request_id)) is not None:
            yield result
            if result.is_finished():
                return

    def stop(
        self, block: bool = True, timeout: float | None = None, hard_stop: bool = False
    ) -> None:
        """End the thread; safe to call twice.

        Args:
            block: Wait for it.
            timeout: Seconds to wait.
            hard_stop: Cancel what is running instead of finishing it first.
        """
        with self._lock:
            self._stopping = bool(self._stopping) or hard_stop
            self._lock.notify_all()
        thread = self._thread
        if block and thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _new_name(self) -> str:
        self._num_made += 1
        return f"req_{self._num_made - 1}"

    def _check_open(self, name: str) -> None:
        if self._stopping is not None or self._failure is not None:
            raise EngineClosedError(self._failure or "the manager was stopped")
        if name in self._live:
            raise RequestError(f"{name!r} is in use", field="request_id")
        if self._max_queue_size and len(self._orders) >= self._max_queue_size:
            raise RequestError(
                f"{len(self._orders)} requests wait already; try later", field="max_queue_size"
            )

    def _take_result(self, request_id: str | None) -> GenerationOutput | None:
        for place, result in enumerate(self._results):
            if request_id is None or result.request_id.split("__child#")[0] == request_id:
                del self._results[place]
                return result
        return None

    def _may_come(self, request_id: str | None) -> bool:
        if self._thread is None or self._failure is not None:
            return False
        if request_id is not None:
            return request_id in self._live
        return bool(self._live) or self.is_running()

    def _run(self) -> None:
        """The thread."""
        try:
            while self._take_orders():
                self._deliver(self._book.step())
            self._deliver(self._book.cancel_all())
        except Exception as error:
            _log.exception("continuous batching failed")
            self._failure = f"continuous batching failed: {type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._stopping = True
                self._live.clear()
                self._lock.notify_all()

    def _take_orders(self) -> bool:
        """Wait until there is work, and take in what callers asked for; False to end."""
        with self._lock:
            while not (self._orders or self._book.has_work or self._stopping is not None):
                self._lock.wait()
            orders = list(self._orders)
            self._orders.clear()
            stopping = self._stopping
        for order in orders:
            if isinstance(order, Prepared):
                self._book.submit(order)
            else:
                self._deliver(self._book.cancel(order))
        return stopping is None or (stopping is False and self._book.has_work)

    def _deliver(self, outputs: list[GenerationOutput]) -> None:
        if not outputs:
            return
        with self._lock:
            self._results.extend(outputs)
            for output in outputs:
                name = output.request_id.split("__child#")[0]
                if output.is_finished() and not self._book.is_live(name):
                    self._live.discard(name)
            self._lock.notify_all()

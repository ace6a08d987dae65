"""SyncEngine: a loop around the core's step, for callers without an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator

from ossia.engine.core import EngineCore
from ossia.engine.results import RequestResult
from ossia.types import Request, TokenOutput


class SyncEngine:
    """Runs requests while the caller waits. Not for use by several threads.

    Args:
        core: Used by nobody else meanwhile.
    """

    def __init__(self, core: EngineCore) -> None:
        self.core = core
        self._outputs: dict[str, deque[TokenOutput]] = {}

    def generate(self, requests: Iterable[Request]) -> list[RequestResult]:
        """Run requests side by side until all have ended.

        Returns:
            One result for each request, in their order.

        Raises:
            RequestError: one of them cannot be served; then none is.
        """
        results: dict[str, RequestResult] = {}
        try:
            for request in requests:
                self._submit(request)
                results[request.request_id] = RequestResult.empty(
                    request.request_id, request.sampling.n
                )
            for request_id, result in results.items():
                for output in self._until_finished(request_id, len(result.continuations)):
                    result.add(output)
        finally:
            for request_id in results:
                self._leave(request_id)
        return list(results.values())

    def stream(self, request: Request) -> Generator[TokenOutput, None, None]:
        """Run one request, each output as it comes; closing the iterator aborts it.

        The request is queued when the first output is asked for. Several streams may be open at
        once: whichever is asked for its next output runs all.

        Raises:
            RequestError: it cannot be served; raised at once.
        """
        self.core.validate(request)
        return self._stream(request)

    def stream_all(self, requests: Iterable[Request]) -> Generator[TokenOutput, None, None]:
        """Run requests side by side, each output of any of them as it comes.

        Between two outputs `abort` may end one of them. Closing the iterator aborts all.

        Raises:
            RequestError: one of them cannot be served; then none is. Raised at the first output.
        """
        submitted: list[str] = []
        try:
            for request in requests:
                self._submit(request)
                submitted.append(request.request_id)
            live = list(submitted)
            while live:
                self._step()
                for request_id in live:
                    outputs = self._outputs[request_id]
                    while outputs:
                        yield outputs.popleft()
                live = [request_id for request_id in live if self.core.is_live(request_id)]
        finally:
            for request_id in submitted:
                self._leave(request_id)

    def abort(self, request_id: str) -> None:
        """End a request of `stream_all` now; it has no further outputs."""
        self.core.abort(request_id)
        self._outputs[request_id].clear()

    def _stream(self, request: Request) -> Generator[TokenOutput, None, None]:
        self._submit(request)
        try:
            yield from self._until_finished(request.request_id, request.sampling.n)
        finally:
            self._leave(request.request_id)

    def _submit(self, request: Request) -> None:
        self.core.submit(request)
        self._outputs[request.request_id] = deque()

    def _until_finished(self, request_id: str, n: int) -> Iterator[TokenOutput]:
        outputs = self._outputs[request_id]
        while n:
            while not outputs:
                self._step()
            output = outputs.popleft()
            n -= output.finish_reason is not None
            yield output

    def _step(self) -> None:
        for output in self.core.step():
            if (outputs := self._outputs.get(output.request_id)) is not None:
                outputs.append(output)

    def _leave(self, request_id: str) -> None:
        del self._outputs[request_id]
        self.core.abort(request_id)

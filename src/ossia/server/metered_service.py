"""MeteredService: a service whose answers are counted."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ossia.api.events import Done, Event, TokenDrawn
from ossia.api.question import Question
from ossia.server.metrics import Metrics
from ossia.server.service import ModelService
from ossia.server.wrapped_service import WrappedService
from ossia.types import Request, TokenOutput


class MeteredService(WrappedService):
    """Counts what passes through a service.

    Args:
        service: Does the work.
        metrics: Where it is counted.
    """

    def __init__(self, service: ModelService, metrics: Metrics) -> None:
        super().__init__(service)
        self._metrics = metrics

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """As the service's own."""
        begun = time.perf_counter()
        return self._count_events(await super().answer(question), begun)

    async def generate(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """As the service's own."""
        begun = time.perf_counter()
        return self._count_outputs(await super().generate(request), request, begun)

    async def _count_events(
        self, events: AsyncGenerator[Event, None], begun: float
    ) -> AsyncGenerator[Event, None]:
        meter = _Meter(self._metrics, begun)
        async with aclosing(events):
            try:
                async for event in events:
                    if type(event) is TokenDrawn:
                        meter.token()
                    elif type(event) is Done:
                        usage = event.usage
                        meter.end(
                            event.finish_reason.value, usage.input_tokens, usage.output_tokens
                        )
                    yield event
            finally:
                meter.end_early()

    async def _count_outputs(
        self, outputs: AsyncGenerator[TokenOutput, None], request: Request, begun: float
    ) -> AsyncGenerator[TokenOutput, None]:
        meter = _Meter(self._metrics, begun)
        open_continuations = request.sampling.n
        async with aclosing(outputs):
            try:
                async for output in outputs:
                    if output.token_id is not None:
                        meter.token()
                    if output.finish_reason is not None:
                        open_continuations -= 1
                        if open_continuations == 0:
                            reason = output.finish_reason.value
                            meter.end(reason, len(request.prompt_ids), meter.num_tokens)
                    yield output
            finally:
                meter.end_early()


class _Meter:
    """Times one answer."""

    __slots__ = ("_begun", "_first", "_metrics", "_over", "num_tokens")

    def __init__(self, metrics: Metrics, begun: float) -> None:
        self._metrics = metrics
        self._begun = begun
        self._first: float | None = None
        self._over = False
        self.num_tokens = 0

    def token(self) -> None:
        self.num_tokens += 1
        if self._first is None:
            self._first = time.perf_counter()
            self._metrics.first_token.observe(self._first - self._begun)

    def end(self, reason: str, prompt_tokens: int, output_tokens: int) -> None:
        self._over = True
        now = time.perf_counter()
        metrics = self._metrics
        metrics.finished.labels(reason).inc()
        metrics.latency.observe(now - self._begun)
        metrics.prompt_tokens.inc(prompt_tokens)
        metrics.prompt_sizes.observe(prompt_tokens)
        metrics.generated_tokens.inc(output_tokens)
        metrics.answer_sizes.observe(output_tokens)
        if self._first is not None and self.num_tokens > 1:
            metrics.inter_token.observe((now - self._first) / (self.num_tokens - 1))

    def end_early(self) -> None:
        """The answer was given up, or failed; nothing happens after `end`."""
        if not self._over:
            self._over = True
            self._metrics.finished.labels("abort").inc()
            self._metrics.generated_tokens.inc(self.num_tokens)

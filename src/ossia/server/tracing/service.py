"""TracedService: a service whose answers leave spans."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ossia.api.events import Done, Event, TokenDrawn
from ossia.api.question import Question
from ossia.server.service import ModelService
from ossia.server.tracing.answer_trace import AnswerTrace
from ossia.server.tracing.setup import Tracing
from ossia.server.wrapped_service import WrappedService
from ossia.types import Request, TokenOutput


class TracedService(WrappedService):
    """Traces what passes through a service.

    Args:
        service: Does the work.
        tracing: Where spans are made.
    """

    def __init__(self, service: ModelService, tracing: Tracing) -> None:
        super().__init__(service)
        self._tracing = tracing

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """As the service's own."""
        trace = AnswerTrace(self._tracing.tracer, "chat", self.model, question.sampling)
        try:
            events = await super().answer(question)
        except BaseException as error:
            trace.end(error=error)
            raise
        trace.admitted()
        return self._follow_events(events, question, trace)

    async def generate(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """As the service's own."""
        trace = AnswerTrace(self._tracing.tracer, "text_completion", self.model, request.sampling)
        try:
            outputs = await super().generate(request)
        except BaseException as error:
            trace.end(error=error)
            raise
        trace.admitted()
        return self._follow_outputs(outputs, request, trace)

    async def _follow_events(
        self, events: AsyncGenerator[Event, None], question: Question, trace: AnswerTrace
    ) -> AsyncGenerator[Event, None]:
        reasons: list[str] = []
        failure: BaseException | None = None
        async with aclosing(events):
            try:
                async for event in events:
                    if type(event) is TokenDrawn:
                        trace.token()
                    elif type(event) is Done:
                        reasons.append(event.finish_reason.value)
                        self._note(trace, question, event)
                    yield event
            except BaseException as error:
                failure = None if reasons else error
                raise
            finally:
                trace.end(reasons, failure)

    async def _follow_outputs(
        self, outputs: AsyncGenerator[TokenOutput, None], request: Request, trace: AnswerTrace
    ) -> AsyncGenerator[TokenOutput, None]:
        reasons: list[str] = []
        failure: BaseException | None = None
        num_tokens = 0
        async with aclosing(outputs):
            try:
                async for output in outputs:
                    if output.token_id is not None:
                        num_tokens += 1
                        trace.token()
                    if output.finish_reason is not None:
                        reasons.append(output.finish_reason.value)
                    yield output
            except BaseException as error:
                failure = None if len(reasons) == request.sampling.n else error
                raise
            finally:
                trace.note(input_tokens=len(request.prompt_ids), output_tokens=num_tokens)
                trace.end(reasons, failure)

    def _note(self, trace: AnswerTrace, question: Question, done: Done) -> None:
        usage = done.usage
        trace.note(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read__input_tokens=usage.cached_tokens,
            reasoning__output_tokens=usage.reasoning_tokens,
        )
        if self._tracing.prompts:
            trace.note_messages(question.messages, done.messages)

"""AnswerTrace: the spans of one answer of the model."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Sequence
from typing import Any, Final

import orjson
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from ossia.harmony import Message
from ossia.server.api_error import ApiError
from ossia.types import SamplingParams

PROVIDER: Final = "ossia"


class AnswerTrace:
    """Notes when what happens to an answer, and makes spans of it at its end.

    Names and attributes are those of OpenTelemetry's conventions for generative AI. Within the
    span of the answer lie `admission` (the prompt is rendered, grammars are compiled, the engine
    queues it), `prefill` (up to the first token) and `decode`.

    Args:
        tracer: Makes the spans, in the context in which this is made.
        operation: "chat" or "text_completion".
        model: As it is served.
        sampling: How to draw.
    """

    def __init__(
        self, tracer: Tracer, operation: str, model: str, sampling: SamplingParams
    ) -> None:
        self._tracer = tracer
        self._name = f"{operation} {model}"
        self._context = context.get_current()
        self._begun = time.time_ns()
        self._admitted: int | None = None
        self._first: int | None = None
        self._attributes = _asked(operation, model, sampling)

    def admitted(self) -> None:
        """The engine has queued it."""
        self._admitted = time.time_ns()

    def token(self) -> None:
        """A token came."""
        if self._first is None:
            self._first = time.time_ns()

    def note(self, **counts: int) -> None:
        """Add token counts, by their names below `gen_ai.usage`, with __ for dots."""
        for name, value in counts.items():
            self._attributes[f"gen_ai.usage.{name.replace('__', '.')}"] = value

    def note_messages(self, asked: Sequence[Message], answered: Sequence[Message]) -> None:
        """Add what was said."""
        self._attributes["gen_ai.input.messages"] = _as_json(asked)
        self._attributes["gen_ai.output.messages"] = _as_json(answered)

    def end(self, reasons: Sequence[str] = (), error: BaseException | None = None) -> None:
        """Make the spans.

        Args:
            reasons: Why its choices ended.
            error: What it failed with, or what made it stop.
        """
        now = time.time_ns()
        if reasons:
            self._attributes["gen_ai.response.finish_reasons"] = list(reasons)
        if self._first is not None:
            seconds = (self._first - self._begun) / 1e9
            self._attributes["gen_ai.response.time_to_first_chunk"] = seconds
        span = self._tracer.start_span(
            self._name,
            self._context,
            kind=SpanKind.INTERNAL,
            attributes=self._attributes,
            start_time=self._begun,
        )
        if error is not None:
            span.set_attribute("error.type", _kind_of(error))
            span.set_status(StatusCode.ERROR)
        if span.is_recording():
            self._make_children(trace.set_span_in_context(span, self._context), now)
        span.end(now)

    def _make_children(self, within: context.Context, now: int) -> None:
        times = (self._begun, self._admitted, self._first, now)
        for name, begun, ended in zip(
            ("admission", "prefill", "decode"), times, times[1:], strict=False
        ):
            if begun is not None:
                child = self._tracer.start_span(name, within, start_time=begun)
                child.end(now if ended is None else ended)


def _asked(operation: str, model: str, sampling: SamplingParams) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.request.temperature": float(sampling.temperature),
        "gen_ai.request.top_p": float(sampling.top_p),
        "gen_ai.request.presence_penalty": float(sampling.presence_penalty),
        "gen_ai.request.frequency_penalty": float(sampling.frequency_penalty),
    }
    for name, value, usual in (
        ("max_tokens", sampling.max_tokens, None),
        ("seed", sampling.seed, None),
        ("top_k", sampling.top_k, 0),
        ("choice.count", sampling.n, 1),
    ):
        if value != usual:
            attributes[f"gen_ai.request.{name}"] = value
    return attributes


def _kind_of(error: BaseException) -> str:
    """A word for an error that says nothing of what was asked."""
    if isinstance(error, GeneratorExit | CancelledError):
        return "cancelled"
    if isinstance(error, ApiError):
        return error.code or str(error.status)
    return type(error).__name__


def _as_json(messages: Sequence[Message]) -> str:
    return orjson.dumps([message.to_dict() for message in messages]).decode()

"""TraceGuard: a span for every request, within the trace that its client is in."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from starlette.types import ASGIApp, Receive, Scope, Send

from ossia.server.guards.request_ids import RequestRecord, record_of

# Asked again and again by what watches a server.
_UNTRACED: Final = frozenset({"/health", "/ready", "/version", "/metrics"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_GONE: Final = 499
_SERVER_ERROR: Final = 500


class TraceGuard:
    """Makes the server spans of OpenTelemetry's conventions for HTTP.

    A `traceparent` header, or what `OTEL_PROPAGATORS` says, makes a span part of the client's
    trace. The access log gets the trace's id.

    Args:
        app: What is guarded; within `RequestIds`.
        tracer: Makes the spans.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request to its end."""
        if scope["type"] == "lifespan" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        record = record_of(scope)
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        span = self._tracer.start_span(
            _method(scope),
            propagate.extract(headers),
            kind=SpanKind.SERVER,
            attributes=_asked(scope, record),
        )
        record.facts["trace_id"] = trace.format_trace_id(span.get_span_context().trace_id)
        token = context.attach(trace.set_span_in_context(span))
        try:
            await self._app(scope, receive, send)
        finally:
            context.detach(token)
            _close(span, scope, record)


def _asked(scope: Scope, record: RequestRecord) -> dict[str, Any]:
    method = scope.get("method", "GET")  # a WebSocket begins as one
    attributes: dict[str, Any] = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
        "ossia.request_id": record.request_id,
    }
    if client := scope.get("client"):
        attributes["client.address"] = client[0]
    if server := scope.get("server"):
        attributes["server.address"], attributes["server.port"] = server[0], server[1] or 0
    return attributes


def _method(scope: Scope) -> str:
    """For a name, which must not be what clients choose freely."""
    method = scope.get("method", "WEBSOCKET")
    return method if method in _METHODS or method == "WEBSOCKET" else "HTTP"


def _close(span: trace.Span, scope: Scope, record: RequestRecord) -> None:
    if (route := getattr(scope.get("route"), "path", None)) is not None:
        span.update_name(f"{_method(scope)} {route}")
        span.set_attribute("http.route", route)
    status = record.status
    if status == _CLIENT_GONE:
        span.set_attribute("error.type", "client_gone")
    else:
        span.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERROR:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
    span.end()

"""Tracing: where spans are made, and how they get out of the process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from ossia import __version__
from ossia.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_LAST_EXPORT: Final = 5.0  # seconds that the end of a server waits for


class Tracing:
    """A tracer of a server, whose spans a thread of their own sends away.

    Args:
        processor: Takes ended spans; None sends them by OTLP over HTTP to where the standard
            variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`,
            `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, ...).
        prompts: Whether spans may hold what was asked and answered.

    Attributes:
        tracer: Makes spans.
        prompts: As given.

    Raises:
        ConfigError: the variables ask for another protocol.
        MissingDependencyError: OpenTelemetry is not installed.
    """

    def __init__(self, processor: SpanProcessor | None = None, *, prompts: bool = False) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
        except ImportError as error:
            raise _missing() from error
        resource = Resource.create({"service.version": __version__})
        # OpenTelemetry's own name for what was given none.
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "ossia"}))
        self.prompts = prompts
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor or _by_otlp())
        self.tracer = self._provider.get_tracer("ossia.server", __version__)

    def close(self) -> None:
        """Send what is left, unless that takes too long."""
        thread = threading.Thread(
            target=self._provider.shutdown, name="ossia-last-spans", daemon=True
        )
        thread.start()
        thread.join(_LAST_EXPORT)


def _by_otlp() -> SpanProcessor:
    asked = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), _PROTOCOL)
    if asked != _PROTOCOL:
        raise ConfigError(f"traces are sent by {_PROTOCOL} only, and {_PROTOCOLS[1]} is {asked!r}")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _missing() from error
    return BatchSpanProcessor(OTLPSpanExporter())


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        "tracing needs OpenTelemetry; install it with: pip install 'ossia[tracing]'"
    )

"""Traces of requests, by OpenTelemetry; needs the extra `tracing`."""

"""EngineCollector: the engine's own counters, read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ossia.server.service import ModelService, ServiceState


class EngineCollector(Collector):
    """How it stands with a service's model.

    Args:
        service: The model.
    """

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: the names do not change."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All values, as of now."""
        status = self._service.status()
        for name, what, value in (
            ("num_requests_running", "Requests that produce tokens.", status.running),
            ("num_requests_waiting", "Requests that wait for their first token.", status.waiting),
            ("ready", "1 if requests are taken.", int(status.state is ServiceState.READY)),
        ):
            yield GaugeMetricFamily(f"ossia:{name}", what, value)
        yield CounterMetricFamily(
            "ossia:engine_restarts", "How often the engine had to be made anew.", status.restarts
        )
        engine = status.engine
        if engine is None:
            return
        used = engine.pages_held / engine.num_pages if engine.num_pages else 0.0
        yield GaugeMetricFamily("ossia:kv_cache_usage_perc", "Part of the KV pages in use.", used)
        for name, what, value in (
            ("engine_steps", "Forward passes.", engine.steps),
            ("engine_failed_steps", "Forward passes that raised.", engine.failed_steps),
            ("num_preemptions", "Sequences that lost their pages.", engine.preemptions),
            ("prefix_cache_queries", "Prompt tokens looked up.", engine.prompt_tokens),
            ("prefix_cache_hits", "Of those, how many were cached.", engine.cached_tokens),
            ("engine_output_tokens", "Tokens produced.", engine.output_tokens),
        ):
            yield CounterMetricFamily(f"ossia:{name}", what, value)

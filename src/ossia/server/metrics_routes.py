"""/metrics, for Prometheus."""

from __future__ import annotations

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ossia.server.engine_metrics import EngineCollector
from ossia.server.openapi.operation import ApiRoute, Operation
from ossia.server.state import ServerState

_METRICS = Operation(
    name="getMetrics",
    summary="Counters and gauges for Prometheus.",
    tag="Server",
    media_type="text/plain",
)


def routes(state: ServerState) -> list[BaseRoute]:
    """The counters of the server and its engine."""
    state.metrics.registry.register(EngineCollector(state.service))

    async def metrics(request: Request) -> Response:
        del request
        return Response(state.metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return [ApiRoute("/metrics", metrics, _METRICS)]

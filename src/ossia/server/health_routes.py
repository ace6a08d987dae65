"""/health, /ready and /version: for what watches a server."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from ossia import __version__
from ossia.server.json_response import JsonResponse
from ossia.server.service import ServiceState
from ossia.server.state import ServerState


def routes(state: ServerState) -> list[BaseRoute]:
    """The health checks."""

    async def health(request: Request) -> JsonResponse:
        """Whether the process is worth keeping: also while it loads, drains or restarts."""
        del request
        status = state.service.status()
        failed = status.state is ServiceState.FAILED
        body = {"status": status.state.value, "message": status.message}
        return JsonResponse(body, status_code=503 if failed else 200)

    async def ready(request: Request) -> JsonResponse:
        """Whether requests may be sent here."""
        del request
        status = state.service.status()
        is_ready = status.state is ServiceState.READY
        progress = {
            what: {"done": done, "total": total} for what, (done, total) in status.progress.items()
        }
        body = {"status": status.state.value, "message": status.message, "progress": progress}
        return JsonResponse(
            body,
            status_code=200 if is_ready else 503,
            headers={} if is_ready else {"retry-after": "1"},
        )

    async def version(request: Request) -> JsonResponse:
        del request
        return JsonResponse({"version": __version__, "model": state.service.model})

    return [Route("/health", health), Route("/ready", ready), Route("/version", version)]

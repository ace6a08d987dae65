"""/health, /ready and /version: for what watches a server."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import BaseRoute

from ossia import __version__
from ossia.server.json_response import JsonResponse
from ossia.server.openapi.answers import AnswerModel
from ossia.server.openapi.operation import ApiRoute, Operation
from ossia.server.service import ServiceState
from ossia.server.state import ServerState


class Health(AnswerModel):
    """How it stands with the model."""

    status: ServiceState
    message: str


class Progress(AnswerModel):
    """How much of something is loaded."""

    done: int
    total: int


class Readiness(Health):
    """The same, and what is being loaded."""

    progress: dict[str, Progress]


class Version(AnswerModel):
    """What runs here."""

    version: str
    model: str


_HEALTH = Operation(
    name="getHealth",
    summary="Whether the process is worth keeping: also while it loads, drains or restarts.",
    tag="Server",
    answer=Health,
    others={503: Health},
)
_READY = Operation(
    name="getReadiness",
    summary="Whether requests may be sent here.",
    tag="Server",
    answer=Readiness,
    others={503: Readiness},
)
_VERSION = Operation(
    name="getVersion", summary="The version and the model.", tag="Server", answer=Version
)


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

    return [
        ApiRoute("/health", health, _HEALTH),
        ApiRoute("/ready", ready, _READY),
        ApiRoute("/version", version, _VERSION),
    ]

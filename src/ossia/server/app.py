"""The ASGI application: the groups of routes, and an answer of the right shape to everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from ossia.server import (
    health_routes,
    metrics_routes,
    model_routes,
    ollama_routes,
    token_routes,
)
from ossia.server.access_log import AccessLog
from ossia.server.anthropic import routes as anthropic_routes
from ossia.server.api_error import ApiError
from ossia.server.chat import routes as chat_routes
from ossia.server.chat import stored_routes as stored_chat_routes
from ossia.server.completions import routes as completion_routes
from ossia.server.conversations import routes as conversation_routes
from ossia.server.guards.content_types import ContentTypeGuard
from ossia.server.guards.failures import FailureGuard
from ossia.server.guards.hosts import HostGuard
from ossia.server.guards.keys import KeyGuard
from ossia.server.guards.origins import OriginGuard
from ossia.server.guards.request_ids import RequestIds
from ossia.server.json_response import JsonResponse, error_response
from ossia.server.metered_service import MeteredService
from ossia.server.openapi.routes import with_document
from ossia.server.responses import routes as response_routes
from ossia.server.responses import stored_routes
from ossia.server.service import ModelService
from ossia.server.state import ServerState

RouteGroup = Callable[[ServerState], list[BaseRoute]]

GROUPS: tuple[RouteGroup, ...] = (
    health_routes.routes,
    metrics_routes.routes,
    model_routes.routes,
    token_routes.routes,
    ollama_routes.routes,
    chat_routes.routes,
    stored_chat_routes.routes,
    response_routes.routes,
    stored_routes.routes,
    conversation_routes.routes,
    completion_routes.routes,
    anthropic_routes.routes,
)
"""Each makes the routes of one group for a server's state."""


def create_app(
    state: ServerState,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> ASGIApp:
    """Everything that answers requests: the routes, and the guards before them.

    Args:
        state: What the routes share; they find the settings as `app.state.settings` too.
        lifespan: What is begun before the first request, and ended after the last.
    """
    state = replace(state, service=_observed(state))
    app = Starlette(
        routes=with_document([route for group in GROUPS for route in group(state)], state.settings),
        middleware=[Middleware(FailureGuard)],
        exception_handlers={ApiError: _refused, HTTPException: _not_offered},  # pyright: ignore[reportArgumentType]
        lifespan=lifespan,
    )
    # A redirect would be to what the Host header says.
    app.router.redirect_slashes = False
    app.state.settings = state.settings
    return guarded(app, state)


def guarded(app: ASGIApp, state: ServerState) -> ASGIApp:
    """An application with the guards before it, the innermost named first."""
    settings = state.settings
    app = ContentTypeGuard(app)
    app = KeyGuard(app, settings.api_keys)
    app = OriginGuard(app, settings.allowed_origins)
    app = HostGuard(app, settings.host, settings.allowed_hosts)
    if state.tracing is not None:
        from ossia.server.tracing.guard import TraceGuard

        app = TraceGuard(app, state.tracing.tracer)
    log = AccessLog(settings.log_format, prompts=settings.log_prompts)
    return RequestIds(app, log, state.metrics)


def _observed(state: ServerState) -> ModelService:
    """The model, with what counts and traces its answers."""
    metered = MeteredService(state.service, state.metrics)
    if state.tracing is None:
        return metered
    # An extra, which most do without.
    from ossia.server.tracing.service import TracedService

    return TracedService(metered, state.tracing)


async def _refused(request: Request, error: ApiError) -> Response:
    del request
    return error_response(error)


def _methods_of(request: Request) -> list[str]:
    """All that a path takes; Starlette tells only those of the first route that has it."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    first = next(route for route in routes if route.path_regex.match(request.scope["path"]))
    found = [route.methods or () for route in routes if route.path == first.path]
    return sorted({method for methods in found for method in methods})


async def _not_offered(request: Request, error: HTTPException) -> JsonResponse:
    path = request.scope["path"]
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            message = f"{request.method} {path} is not offered by this server"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            message = f"{path} does not take {request.method}"
        case _:
            message = str(error.detail)
    response = error_response(ApiError(message, status=error.status_code, code="not_offered"))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["allow"] = ", ".join(_methods_of(request))
    return response

"""The ASGI application: the groups of routes, and an answer of the right shape to everything."""

from __future__ import annotations

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ossia.server import health_routes
from ossia.server.api_error import ApiError
from ossia.server.conversations import routes as conversation_routes
from ossia.server.json_response import JsonResponse, error_response
from ossia.server.responses import routes as response_routes
from ossia.server.responses import stored_routes
from ossia.server.state import ServerState

GROUPS = (
    health_routes.routes,
    response_routes.routes,
    stored_routes.routes,
    conversation_routes.routes,
)
"""Each makes the routes of one group for a server's state."""


def create_app(state: ServerState) -> Starlette:
    """The application over a server's state; `app.state.settings` and `app.state.server` hold it."""
    app = Starlette(
        routes=[route for group in GROUPS for route in group(state)],
        exception_handlers={ApiError: _refused, HTTPException: _not_offered},  # pyright: ignore[reportArgumentType]
    )
    # A redirect would be to what the Host header says.
    app.router.redirect_slashes = False
    app.state.settings = state.settings
    app.state.server = state
    return app


async def _refused(request: Request, error: ApiError) -> Response:
    del request
    return error_response(error)


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
    response.headers.update(error.headers or {})
    return response

"""FailureGuard: whatever goes wrong below is logged here, once, and told as an error of ours."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ossia.log import logger
from ossia.server.api_error import ApiError
from ossia.server.guards.refusing import refuse

_log = logger(__name__)


class FailureGuard:
    """Answers 500 in the hosted API's shape where a route raises what it should not.

    Args:
        app: What is guarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request to its end."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            told = ApiError.of(error)
            if told.status == HTTPStatus.SERVICE_UNAVAILABLE:
                _log.warning("a request could not be served: %s", error)
            elif told.status >= 500:
                _log.exception("a request failed: %s", ascii(scope["path"]))
            if started:
                raise  # the connection is closed, which is all that can still be said
            await refuse(scope, receive, send, told)

"""RequestIds: an id for every request, on its answer and in the logs; and the access log's line."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ossia.server.access_log import AccessLog
from ossia.server.guards.refusing import header_values
from ossia.server.ignored import HEADER
from ossia.server.metrics import Metrics

_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_RECORD = "ossia.record"


@dataclass(slots=True)
class RequestRecord:
    """What the access log is told of a request.

    Args:
        request_id: As on the answer.
        facts: What routes add, such as token counts; nothing that was said.
        prompt: What was asked; logged only where that was asked for.
        status: Of the answer; 499 while there is none (the client went away).
        ignored: Names of fields that mean nothing here, as the answer's header tells them.
    """

    request_id: str
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    prompt: Any = None
    status: int = 499
    ignored: bytes = b""


def record_of(scope: Scope) -> RequestRecord:
    """The record of a request; one of its own where no guard has made one."""
    return scope.setdefault(_RECORD, RequestRecord(""))


class RequestIds:
    """Gives each request its id, and logs and counts it when it is over.

    Args:
        app: Everything else.
        log: Where lines go.
        metrics: What is counted.
    """

    def __init__(self, app: ASGIApp, log: AccessLog, metrics: Metrics) -> None:
        self._app = app
        self._log = log
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request to its end."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = header_values(scope, b"x-request-id")
        is_usable = len(given) == 1 and _SAFE_ID.fullmatch(given[0]) is not None
        record = RequestRecord(given[0] if is_usable else f"req_{uuid.uuid4().hex}")
        scope[_RECORD] = record
        header = (b"x-request-id", record.request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                record.status = message["status"]
                ignored = [(HEADER, record.ignored)] if record.ignored else []
                message["headers"] = [*message.get("headers", ()), header, *ignored]
            elif message["type"] == "websocket.accept":
                record.status = 101
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        begun = time.perf_counter()
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._count(scope, record.status)
            self._log.write(scope, record, time.perf_counter() - begun)

    def _count(self, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope.get("method", "WEBSOCKET")
        # What clients can choose freely must not become a label.
        method = method if method in _METHODS else "other"
        self._metrics.http_requests.labels(method, route, str(status)).inc()


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})

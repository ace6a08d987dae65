"""An application without a socket: requests and answers in the test's own event loop."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from starlette.types import ASGIApp


def asgi_client(app: ASGIApp) -> httpx2.AsyncClient:
    """A client of the application; a stream is there once it has ended."""
    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=20)


def sent_events(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The events of a stream that ended as it should."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, last, rest = answer.text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    events: list[dict[str, Any]] = []
    for piece in pieces:
        *names, data = piece.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert not names or names == [f"event: {events[-1]['type']}"]
    return events

"""FakeChatServer: chat completions on 127.0.0.1, as scripted, with faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeChatServer:
    """What the server sends, and what it was asked.

    Args:
        lines: Lines of the event stream, one answer after the other.
        status: Of answers.
        content_type: Of answers.
        body: Sent in place of lines.
        cut: Announce more bytes than are sent.
        requests: (path, body, authorization) of what was asked.
    """

    lines: list[list[str]] = field(default_factory=list)
    status: int = 200
    content_type: str = "text/event-stream"
    body: bytes | None = None
    cut: bool = False
    models: Any = field(default_factory=lambda: {"data": [{"id": "first/model"}]})
    requests: list[tuple[str, Any, str | None]] = field(default_factory=list)
    address: str = ""


def event(**delta: str) -> str:
    """A line with a piece of the answer."""
    return "data: " + json.dumps({"choices": [{"delta": delta}]})


FINISHED = "data: " + json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})


@contextmanager
def fake_chat_server(**settings: Any) -> Iterator[FakeChatServer]:
    """Serve until the block ends."""
    fake = FakeChatServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            fake.requests.append((self.path, None, self.headers.get("Authorization")))
            self._answer(200, "application/json", json.dumps(fake.models).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append((self.path, asked, self.headers.get("Authorization")))
            if fake.body is not None:
                self._answer(fake.status, fake.content_type, fake.body)
                return
            lines = fake.lines.pop(0)
            body = "".join(f"{line}\n\n" for line in lines).encode()
            self._answer(fake.status, fake.content_type, body)

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body) + (99 if fake.cut else 0)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    fake.address = f"127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""FakeWeb: a web server on 127.0.0.1 with the pages and search engines that a test gives it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Answer:
    """What a path answers with."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/html"})
    endless: bool = False  # the body is sent until nobody takes it any more


@dataclass
class FakeWeb:
    """What the server answers with, and what it was asked.

    Args:
        pages: By path.
        asked: Host, method and path of each request, and its query or JSON body.
    """

    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hosts(self) -> list[str]:
        return [one["host"] for one in self.asked]


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), status, {"content-type": "application/json"})


@contextmanager
def fake_web(tls: ssl.SSLContext | None = None) -> Iterator[FakeWeb]:
    """Serve until the block ends."""
    web = FakeWeb()
    handler = type("Handler", (_Handler,), {"web": web})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.port = server.server_port
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    web: FakeWeb
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def log_message(self, format: str, *args: object) -> None:
        return

    def _answer(self, said: object) -> None:
        path = urlsplit(self.path).path
        self.web.asked.append(
            {
                "host": self.headers["host"],
                "method": self.command,
                "path": path,
                "said": said,
                "headers": {name.lower(): value for name, value in self.headers.items()},
            }
        )
        answer = self.web.pages.get(path, Answer(status=404))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not answer.endless:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(answer.body)
            while answer.endless:
                self.wfile.write(answer.body)
        except OSError:
            pass

"""The socket that a server listens on, and the addresses that lead to it."""

from __future__ import annotations

import errno
import socket

from ossia.errors import ServerError
from ossia.server.settings import ServerSettings

_BACKLOG = 2048
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}


def listen(settings: ServerSettings) -> socket.socket:
    """Take the address that was chosen.

    Raises:
        ServerError: it is in use, is none of this machine, or may not be taken.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise ServerError(f"{where} is in use; choose another --port, or 0") from error
        raise ServerError(f"{where} cannot be listened on: {error.strerror or error}") from error
    # uvloop sets it on every connection, asyncio does not on those of a socket that it is given.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket, settings: ServerSettings) -> str:
    """Where clients on this machine find the server."""
    host, port = listener.getsockname()[:2]
    shown = _EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    scheme = "https" if settings.tls_certificate is not None else "http"
    return f"{scheme}://{shown}:{port}"


def raise_file_limit() -> None:
    """Let the process have as many connections as the system allows it."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

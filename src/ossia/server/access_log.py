"""AccessLog: a line for every request, as text or JSON, without what was said in it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson
from starlette.types import Scope

if TYPE_CHECKING:
    from ossia.server.guards.request_ids import RequestRecord

ACCESS_LOGGER = "ossia.access"
_log = logging.getLogger(ACCESS_LOGGER)
_MAX_SHOWN = 200  # characters of what clients choose


class AccessLog:
    """Writes to the logger `ossia.access`, at level INFO.

    Args:
        form: "text" or "json".
        prompts: Whether lines may hold what was asked.
    """

    def __init__(self, form: Literal["text", "json"], *, prompts: bool) -> None:
        self._form = form
        self._prompts = prompts

    def write(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        """Log one request that is over."""
        if not _log.isEnabledFor(logging.INFO):
            return
        client = scope.get("client")
        facts: dict[str, Any] = {
            "client": client[0] if client else "-",
            "method": scope.get("method", "WEBSOCKET"),
            "path": scope["path"][:_MAX_SHOWN],
            "status": record.status,
            "ms": round(seconds * 1000, 1),
            "request_id": record.request_id,
            **record.facts,
        }
        if self._prompts and record.prompt is not None:
            facts["prompt"] = record.prompt
        _log.info("%s", _as_json(facts) if self._form == "json" else _as_text(facts))


def _as_json(facts: dict[str, Any]) -> str:
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts}
    # JSON escapes control characters, but not those above 0x7f.
    return printable(orjson.dumps(line, default=str).decode())


def _as_text(facts: dict[str, Any]) -> str:
    head = '{client} "{method} {path}" {status} {ms}ms {request_id}'.format_map(facts)
    known = ("client", "method", "path", "status", "ms", "request_id")
    rest = "".join(f" {name}={value}" for name, value in facts.items() if name not in known)
    return printable(head + rest)


def printable(text: str) -> str:
    """Text in which nothing can begin a new line or move a terminal's cursor."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)

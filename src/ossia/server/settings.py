"""ServerSettings: everything about a server that can be chosen; the defaults are safe."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ossia.errors import ConfigError
from ossia.tools.browser.web import check_engine

ReasoningOutput = Literal["raw", "summary", "both", "hidden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a server behaves.

    Args:
        host: Address to bind; loopback unless chosen otherwise.
        port: 0 takes a free one.
        api_keys: Any of them opens every route but the health checks; none at all means no key is
            asked for. `sha256:` and 64 hex digits stand for a key that is not to be written down.
        allowed_hosts: Names that the Host header may hold besides the address bound; "*" is any.
        allowed_origins: Origins of web pages that may call; they get CORS headers.
        aliases: Further names under which the model may be asked for.
        reasoning: How the chain of thought is given to clients.
        max_body_bytes: Of a request.
        max_header_bytes: Of a request's line and headers.
        max_n: Choices of one request at most.
        max_queue: Requests that may wait for the engine; further ones get 429.
        max_queued_tokens: Prompt tokens that may wait for the engine.
        request_timeout: Seconds that a request may take from its admission.
        engine_timeout: Seconds that a step of the engine may take; when one takes longer, the
            engine hangs and is started again. Prompts are computed in pieces, a piece in a step.
        header_timeout: Seconds in which the headers of a request must arrive.
        body_timeout: Seconds in which the body of a request must arrive.
        write_timeout: Seconds in which a client must take something of what it is sent.
        keep_alive: Seconds of silence after which a stream gets a comment.
        drain_timeout: Seconds that running requests get when the server is to end.
        state_folder: Where responses are kept and the sealing key lies; None keeps all in memory.
        state_url: `postgresql://...` of a database where responses are kept instead, for several
            servers at once; the sealing key lies there too.
        store_ttl: Seconds that a stored response lives.
        store_bytes: Size of the store at most; the oldest go first.
        log_prompts: Whether the access log may hold what was asked.
        log_format: Of the access log.
        tracing: Whether traces are sent, to where OpenTelemetry's variables say.
        trace_prompts: Whether they may hold what was asked and answered.
        web_search: What searches the web: the URL of a SearXNG, or `exa`; None searches nothing.
        images: What to do with images: refuse them, or put a note in their place.
        tls_certificate: PEM file of the certificate chain; with it the server speaks HTTPS.
        tls_key: PEM file of its private key, where it is not in the same file.

    Raises:
        ConfigError: a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    reasoning: ReasoningOutput = "raw"
    max_body_bytes: int = 32 * 2**20
    max_header_bytes: int = 64 * 2**10
    max_n: int = 16
    max_queue: int = 1024
    max_queued_tokens: int = 4 * 2**20
    request_timeout: float = 3600.0
    engine_timeout: float = 600.0
    header_timeout: float = 30.0
    body_timeout: float = 60.0
    write_timeout: float = 60.0
    keep_alive: float = 15.0
    drain_timeout: float = 30.0
    state_folder: Path | None = None
    state_url: str | None = field(default=None, repr=False)  # may hold a password
    store_ttl: float = 30 * 86400.0
    store_bytes: int = 2**30
    log_prompts: bool = False
    log_format: Literal["text", "json"] = "text"
    tracing: bool = False
    trace_prompts: bool = False
    web_search: str | None = None
    images: Literal["refuse", "note"] = "refuse"
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must be from 0 to 65535")
        self._check_numbers()
        for one in self.allowed_origins:
            _check_origin(one)
        for one in self.allowed_hosts:
            _check_host(one)
        if self.web_search is not None:
            check_engine(self.web_search)
        if self.tls_key is not None and self.tls_certificate is None:
            raise ConfigError("tls_key is of no use without tls_certificate")
        if self.trace_prompts and not self.tracing:
            raise ConfigError("trace_prompts is of no use without tracing")

    def _check_numbers(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not self.drain_timeout >= 0:
            raise ConfigError(f"drain_timeout is {self.drain_timeout}; it must not be below 0")
        for name in _FINITE:
            if math.isinf(getattr(self, name)):
                raise ConfigError(f"{name} is infinite; it must be a number of seconds")


# What browsers send: neither a path nor a user, and "null" for pages of no site.
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]+/?")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
_WAITS = (
    "request_timeout",
    "engine_timeout",
    "header_timeout",
    "body_timeout",
    "write_timeout",
    "keep_alive",
)
_POSITIVE = (
    "max_body_bytes",
    "max_header_bytes",
    "max_n",
    "max_queue",
    "max_queued_tokens",
    *_WAITS,
    "store_ttl",
    "store_bytes",
)
_FINITE = (*_WAITS, "drain_timeout")


def _check_origin(text: str) -> None:
    if _ORIGIN.fullmatch(text) is None:
        raise ConfigError(
            f"allowed_origins: {text!r} is no origin; write it as https://example.org, or *"
        )


def _check_host(text: str) -> None:
    if text == "*" or _HOST_NAME.fullmatch(text):
        return
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ConfigError(
            f"allowed_hosts: {text!r} is no name; write it as example.org, without https:// and "
            "without a port, or *"
        ) from None

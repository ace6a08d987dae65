"""What `ossia serve` tells the person who started it."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from ossia import __version__
from ossia.cli.output import Output
from ossia.cli.units import bytes_in_words

if TYPE_CHECKING:
    from ossia.server.options import ModelOptions, ServeOptions
    from ossia.server.service import ServiceStatus
    from ossia.server.settings import ServerSettings

_ACCESS_LOGGER = "ossia.access"


class ServeView:
    """A banner at the start, and a line whenever it stands otherwise with the model.

    Args:
        output: Where to.
        options: Of the server.
    """

    def __init__(self, output: Output, options: ServeOptions) -> None:
        self._output = output
        self._options = options
        self._name = options.model.served_name or options.model.model

    def started(self, url: str) -> None:
        """The server listens; the model is still to be loaded."""
        _show_server_log()
        settings, model = self._options.settings, self._options.model
        context = model.max_context or "the model's limit"
        many = model.max_sequences
        requests = (
            f"{many} requests side by side" if many else "as many requests side by side as suit it"
        )
        guarded = f"{len(settings.api_keys)} API keys" if settings.api_keys else "no API key"
        lines = (
            f"Ossia {__version__} serves {self._name} at {url}",
            f"  device {model.device}{_precision(model)}, {requests}, "
            f"{settings.max_queue} in the queue, context: {context}, "
            f"requests up to {bytes_in_words(settings.max_body_bytes)}, {guarded}",
            f"  responses are kept {_place(settings)}",
            f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{self._key} \\",
            f'    -d \'{{"model": "{self._name}", "messages": [{{"role": "user", "content": "Hi"}}]}}\'',
            f'  OpenAI(base_url="{url}/v1", api_key="{"KEY" if settings.api_keys else "none"}")',
            "Loading the model ...",
        )
        for line in lines:
            self._output.line(line)

    def changed(self, status: ServiceStatus, device: str | None, max_context: int | None) -> None:
        """It stands otherwise with the model than before."""
        told = f"The model is {status.state.value}"
        if device is not None:
            told += f" on {device}"
        if max_context is not None:
            told += f", {max_context:,} tokens of context"
        if status.message:
            told += f": {status.message}"
        self._output.line(told)

    @property
    def _key(self) -> str:
        return " -H 'Authorization: Bearer KEY'" if self._options.settings.api_keys else ""


def _precision(model: ModelOptions) -> str:
    """What is not as the model has it, if anything."""
    told = "" if model.kv_dtype == "auto" else f", KV cache {model.kv_dtype}"
    if model.cpu_weights != "bf16":
        told += f", CPU weights {model.cpu_weights}"
    if model.cpu_activations != "full":
        told += f", CPU activations {model.cpu_activations}"
    if model.fp8_weights != "none":
        told += f", {' and '.join(model.fp8_weights.split(','))} in 8-bit floats"
    if model.fp8_prefill:
        told += ", long prompts in 8-bit floats"
    return f"{told}, deterministic" if model.deterministic else told


def _place(settings: ServerSettings) -> str:
    """Where responses are kept; of a database nothing that is secret."""
    if settings.state_url is not None:
        from ossia.server.store.postgres.address import PostgresAddress

        return f"in PostgreSQL, {PostgresAddress(settings.state_url)}"
    return "in memory" if settings.state_folder is None else f"in {settings.state_folder}"


def _show_server_log() -> None:
    """Write the access log, and what goes wrong, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    for name in ("ossia", "uvicorn"):
        log = logging.getLogger(name)
        if not any(type(one) is logging.StreamHandler for one in log.handlers):
            log.addHandler(handler)
        log.setLevel(min(log.level or logging.WARNING, logging.WARNING))
    access = logging.getLogger(_ACCESS_LOGGER)
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(logging.Formatter("%(message)s"))
    access.addHandler(plain)
    access.setLevel(logging.INFO)
    access.propagate = False

"""`ossia serve`: a model behind the OpenAI APIs."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossia.cli.errors import INTERRUPT_EXIT
from ossia.cli.options import (
    CPU_ACTIVATIONS_HELP,
    CPU_WEIGHTS_HELP,
    FP8_PREFILL_HELP,
    FP8_WEIGHTS_HELP,
    KV_DTYPE_HELP,
    CpuActivations,
    CpuWeights,
    Fp8Weights,
    KVDtype,
)
from ossia.cli.output import Output

if TYPE_CHECKING:
    from ossia.server.options import ServeOptions

EXAMPLES = (
    "ossia serve",
    "ossia serve openai/gpt-oss-20b --port 8080",
    "ossia serve openai/gpt-oss-20b --host 0.0.0.0 --api-key-file keys.txt --allow-host gpu.lan",
    "ossia serve openai/gpt-oss-20b --web-search http://127.0.0.1:8888",
    "ossia serve --config serve.toml",
    "OSSIA_SERVE_REASONING=hidden ossia serve ./checkpoint --served-name mine",
)


class Reasoning(StrEnum):
    """How the chain of thought is given to clients."""

    RAW = "raw"
    SUMMARY = "summary"
    BOTH = "both"
    HIDDEN = "hidden"


class Images(StrEnum):
    """What to do with images, which gpt-oss cannot see."""

    REFUSE = "refuse"
    NOTE = "note"


class LogFormat(StrEnum):
    """Of the access log."""

    TEXT = "text"
    JSON = "json"


def restart_with_allocator() -> None:
    """Begin this process anew where Python's own allocator would keep what a rush has taken."""
    from ossia.server.allocator import with_malloc

    environ = with_malloc(os.environ)
    if environ is not None and sys.orig_argv:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


def _option(help_text: str, *names: str, metavar: str | None = None) -> typer.models.OptionInfo:
    return typer.Option(*names, help=help_text, metavar=metavar, show_default=False)


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="demo, random:20b|120b|tiny, a checkpoint folder, or a hub id. Left out: demo.",
        ),
    ] = None,
    host: Annotated[str | None, _option("Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, _option("0 takes a free one. [8000]")] = None,
    api_keys: Annotated[
        list[str] | None,
        _option("Ask clients for this key; repeatable.", "--api-key", metavar="KEY"),
    ] = None,
    api_key_file: Annotated[Path | None, _option("Ask for one of these keys, one a line.")] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        _option(
            "A name by which clients may call this server; repeatable.",
            "--allow-host",
            metavar="NAME",
        ),
    ] = None,
    allowed_origins: Annotated[
        list[str] | None,
        _option(
            "A web site whose pages may call it; repeatable.", "--allow-origin", metavar="ORIGIN"
        ),
    ] = None,
    served_name: Annotated[str | None, _option("The model's name for clients. [MODEL]")] = None,
    aliases: Annotated[
        list[str] | None, _option("A further name for it; repeatable.", "--alias", metavar="NAME")
    ] = None,
    reasoning: Annotated[
        Reasoning | None, _option("What clients see of the reasoning. [raw]")
    ] = None,
    web_search: Annotated[
        str | None,
        _option(
            "Search the web with this: the URL of a SearXNG, or exa (EXA_API_KEY).",
            "--web-search",
            metavar="URL|exa",
        ),
    ] = None,
    images: Annotated[Images | None, _option("What to do with images. [refuse]")] = None,
    device: Annotated[
        str | None, _option("auto, cpu, cuda, cuda:N or another device of torch. [auto]")
    ] = None,
    dtype: Annotated[str | None, _option("auto (the checkpoint's), bfloat16, ... [auto]")] = None,
    revision: Annotated[str | None, _option("Branch, tag or commit of a hub model.")] = None,
    cpu_weights: Annotated[CpuWeights | None, _option(f"{CPU_WEIGHTS_HELP} [bf16]")] = None,
    cpu_activations: Annotated[
        CpuActivations | None, _option(f"{CPU_ACTIVATIONS_HELP} [full]")
    ] = None,
    fp8_weights: Annotated[Fp8Weights | None, _option(f"{FP8_WEIGHTS_HELP} [none]")] = None,
    fp8_prefill: Annotated[
        bool | None, typer.Option("--fp8-prefill", help=FP8_PREFILL_HELP)
    ] = None,
    max_context: Annotated[
        int | None, _option("Prompt and output tokens of a request. [the model's limit]")
    ] = None,
    max_sequences: Annotated[
        int | None, _option("Requests that run side by side. [up to 512 on CUDA, 64 elsewhere]")
    ] = None,
    kv_cache_bytes: Annotated[int | None, _option("Size of the KV cache.")] = None,
    kv_dtype: Annotated[KVDtype | None, _option(f"{KV_DTYPE_HELP} [auto]")] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic",
            help="Greedy and seeded answers do not depend on what else runs; slower, see "
            "docs/serving.md.",
        ),
    ] = None,
    max_queue: Annotated[int | None, _option("Requests that may wait. [1024]")] = None,
    max_n: Annotated[int | None, _option("Choices of one request at most. [16]")] = None,
    max_body_bytes: Annotated[int | None, _option("Size of a request at most. [32 MiB]")] = None,
    request_timeout: Annotated[
        float | None, _option("Seconds that a request may take. [3600]")
    ] = None,
    engine_timeout: Annotated[
        float | None, _option("Seconds until an engine that hangs is started again. [600]")
    ] = None,
    drain_timeout: Annotated[
        float | None, _option("Seconds that running requests get at the end. [30]")
    ] = None,
    state_folder: Annotated[
        Path | None, _option("Keep stored responses here. [in memory]", "--state-folder")
    ] = None,
    state_url: Annotated[
        str | None,
        _option(
            "Keep stored responses in this PostgreSQL database, which several servers may share. "
            "A password is safer in OSSIA_SERVE_STATE_URL, PGPASSWORD or ~/.pgpass.",
            "--state-url",
            metavar="postgresql://...",
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, _option("PEM file; serves HTTPS.", "--tls-certificate")
    ] = None,
    tls_key: Annotated[Path | None, _option("PEM file of the private key.", "--tls-key")] = None,
    log_format: Annotated[LogFormat | None, _option("Of the access log. [text]")] = None,
    log_prompts: Annotated[
        bool | None, typer.Option("--log-prompts", help="Log what was asked, too.")
    ] = None,
    tracing: Annotated[
        bool | None,
        typer.Option(
            "--tracing",
            help="Send traces by OTLP over HTTP, to where OTEL_EXPORTER_OTLP_ENDPOINT and the "
            "other variables of OpenTelemetry say; these alone send none. Needs ossia[tracing].",
        ),
    ] = None,
    trace_prompts: Annotated[
        bool | None,
        typer.Option("--trace-prompts", help="What was asked and answered may stand in them."),
    ] = None,
    config: Annotated[
        Path | None, _option("TOML file with any of these, and more.", metavar="FILE")
    ] = None,
) -> None:
    """Serve a model over the OpenAI APIs (Responses, Chat Completions) on this machine.

    Every option may also stand in a TOML file (port = 8080) or in the environment
    (OSSIA_SERVE_PORT=8080); a flag outdoes the environment, and that the file.
    """
    # Before there is any other name: the parameters are the flags.
    flags = {
        name: tuple(value) if isinstance(value, list) else getattr(value, "value", value)
        for name, value in locals().items()
        if name != "config"
    }
    from ossia.server.options import serve_options

    options = serve_options(flags, environ=os.environ, config_file=config)
    if not _run(Output(), options):
        raise typer.Exit(INTERRUPT_EXIT)


def _run(output: Output, options: ServeOptions) -> bool:
    from ossia.cli.serve_view import ServeView
    from ossia.server.launch import launch

    return launch(options, ServeView(output, options))

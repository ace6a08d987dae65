"""`ossia bench serve`: how a server with an OpenAI API bears a load."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from ossia import env
from ossia.cli.options import JsonOption
from ossia.cli.output import Output

EXAMPLES = (
    "ossia bench serve localhost:8000 --num-prompts 200 --max-concurrency 32 --ignore-eos",
    "ossia bench serve http://localhost:8000/v1 --api chat --request-rate 4 --goodput ttft:500",
)


def serve(
    url: Annotated[str, typer.Argument(metavar="URL", help="Such as localhost:8000.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="To ask for. [the server's first]")
    ] = None,
    api: Annotated[str, typer.Option("--api", help="completions or chat.")] = "completions",
    num_prompts: Annotated[int, typer.Option("--num-prompts", help="Requests.")] = 100,
    request_rate: Annotated[
        float, typer.Option("--request-rate", help="A second, as a Poisson process; inf: at once.")
    ] = math.inf,
    max_concurrency: Annotated[
        int | None, typer.Option("--max-concurrency", help="Open at once. [no limit]")
    ] = None,
    input_len: Annotated[int, typer.Option("--input-len", help="Prompt tokens.")] = 1024,
    output_len: Annotated[int, typer.Option("--output-len", help="Tokens asked for.")] = 128,
    range_ratio: Annotated[
        float, typer.Option("--range-ratio", help="Lengths from 1 - this to 1 + this times those.")
    ] = 0.0,
    ignore_eos: Annotated[
        bool,
        typer.Option("--ignore-eos", help="Ask for full lengths (vLLM, SGLang, Ossia)."),
    ] = False,
    goodput: Annotated[
        list[str] | None,
        typer.Option(
            "--goodput",
            metavar="METRIC:MS",
            help="What a good request may take: ttft, tpot or e2el; repeatable.",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for an answer.")] = 600.0,
    warm_ups: Annotated[int, typer.Option("--warm-ups", help="Requests before, not counted.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of words, lengths and gaps.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Put a load on a server with an OpenAI API.

    Prompts are random words, each a token of gpt-oss; token counts are those that the server tells.
    TTFT runs from the sending, connection included, to the first text, reasoning included; TPOT is
    (E2EL - TTFT) / (output tokens - 1); ITL are the gaps between events that bring text, however
    many tokens; E2EL ends with the last text. "Output token throughput" does not count prompts,
    "total" does. An API key is taken from OPENAI_API_KEY.
    """
    settings = {name: value for name, value in locals().items() if name != "as_json"}
    settings["request_rate"] = None if request_rate == math.inf else request_rate  # JSON has no inf
    output = Output()
    from ossia.api.chat_client import ChatClient
    from ossia.bench.environment import software
    from ossia.bench.load_metrics import LoadMetrics
    from ossia.bench.report import Report
    from ossia.bench.serve.asking import Asker, parse_api, tls_for
    from ossia.bench.serve.driving import drive
    from ossia.bench.serve.exchange import Target
    from ossia.bench.serve.thresholds import parse_thresholds
    from ossia.bench.serve.workload import Workload
    from ossia.cli.bench_view import show_heading, show_load_metrics

    route, thresholds = parse_api(api), parse_thresholds(goodput or ())
    workload = Workload(
        num_prompts=num_prompts,
        input_len=input_len,
        output_len=output_len,
        range_ratio=range_ratio,
        request_rate=request_rate,
        seed=seed,
    )
    client = ChatClient(url, model, api_key=env.api_key())
    asker = Asker(
        target=Target(client.address, env.api_key()),
        model=model or client.first_model(),
        api=route,
        ignore_eos=ignore_eos,
        timeout=timeout,
        tls=tls_for(client.address),
    )
    with output.waiting("making prompts"):
        questions, before = workload.questions(), workload.warm_ups(warm_ups)
    timings, duration = drive(
        asker,
        questions,
        max_concurrency=max_concurrency,
        warm_ups=before,
        tell=output.status,
    )
    metrics = LoadMetrics.of(timings, duration, thresholds)
    report = Report(
        command="ossia bench serve",
        settings=settings | {"model": asker.model},
        software=software(),
        device=None,
        model={"name": asker.model, "server": client.address, "api": route.value},
    )
    if as_json:
        output.json(report.to_dict(metrics))
    else:
        show_heading(output, report)
        show_load_metrics(output, metrics)
    if not metrics.completed:
        raise typer.Exit(1)

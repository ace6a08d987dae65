"""`ossia bench`: how fast this machine, or a server, runs a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ossia.cli import bench_load, bench_serve
from ossia.cli.bench_options import (
    BatchOption,
    ChunkOption,
    ModelOption,
    ProfileOption,
    SeedOption,
    ThreadsOption,
    settings_of,
)
from ossia.cli.options import (
    CpuActivations,
    CpuActivationsOption,
    CpuWeights,
    CpuWeightsOption,
    DeviceOption,
    DtypeOption,
    Fp8PrefillOption,
    Fp8Weights,
    Fp8WeightsOption,
    JsonOption,
    KVDtype,
    KVDtypeOption,
    RevisionOption,
)
from ossia.cli.output import Output
from ossia.errors import RequestError
from ossia.garbage import collector_paused, freeze_garbage

if TYPE_CHECKING:
    from ossia.bench.latency import LatencyResult
    from ossia.bench.subject import Subject

app = typer.Typer(
    name="bench",
    help="Measure speed: latency, throughput, kernels and loading here, or a server's.",
    epilog="docs/bench.md defines every figure.",
    add_completion=False,
    rich_markup_mode=None,
)

EXAMPLES = {
    "latency": (
        "ossia bench latency",
        "ossia bench latency --device cpu --cpu-weights int8 --cpu-activations int8",
        "ossia bench latency --model random:20b --batch 1,8 --prompt 512 --depth 0,4096",
        "ossia bench latency --model random:20b --device cuda --depth 16384 --kv-dtype fp8",
        "ossia bench latency --device cpu --threads 2 --profile trace.json",
    ),
    "throughput": (
        "ossia bench throughput --model openai/gpt-oss-20b",
        "ossia bench throughput --num-prompts 64 --input-len 1024 --output-len 128 --json",
    ),
    "serve": bench_serve.EXAMPLES,
    "kernels": (
        "ossia bench kernels",
        "ossia bench kernels --model random:20b --device cuda --batch 1,8,32",
    ),
    "load": bench_load.EXAMPLES,
}


@app.callback(invoke_without_command=True)
def _bench(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        Output().line(context.get_help())


def latency(
    model: ModelOption = "demo",
    batch: BatchOption = "1",
    prompt: Annotated[int, typer.Option("--prompt", help="Tokens of a prompt: pp.")] = 128,
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens made: tg.")] = 128,
    depth: Annotated[
        str, typer.Option("--depth", help="Tokens in the KV cache before; 0,4096 is both.")
    ] = "0",
    repeats: Annotated[int, typer.Option("--repeats", help="Of each, after a warm-up.")] = 5,
    chunk: ChunkOption = None,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Of the draws; 0 is greedy.")
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option("--top-p", help="Of the draws, with a --temperature; 1 is from all tokens."),
    ] = 1.0,
    logprobs: Annotated[
        int | None,
        typer.Option("--logprobs", help="Ask for those of each token, and of as many likely ones."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    cpu_weights: CpuWeightsOption = CpuWeights.BF16,
    cpu_activations: CpuActivationsOption = CpuActivations.FULL,
    fp8_weights: Fp8WeightsOption = Fp8Weights.NONE,
    fp8_prefill: Fp8PrefillOption = False,
    kv_dtype: KVDtypeOption = KVDtype.AUTO,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time prompts and tokens, as llama-bench does.

    pp: prompt tokens a second up to the first token. tg: tokens a second of all sequences while
    they all make tokens, prompts not counted. Random ids, greedy unless --temperature is given, no end
    but the length, nothing from the prefix cache but --depth. Shares: of a large bfloat16 product for pp, and of the read
    bandwidth for tg, which reads each weight once; both are measured in the same run.
    """
    settings = settings_of(locals())
    output = Output()
    _load_torch()
    from ossia.bench.ceilings import CpuReads, measure_ceilings
    from ossia.bench.latency import LatencyBench, LatencyPlan
    from ossia.bench.report import Report
    from ossia.cli.bench_view import show_heading, show_latency

    plan = LatencyPlan(
        batches=_integers(batch, "batch", least=1),
        depths=_integers(depth, "depth", least=0),
        prompt=prompt,
        tokens=tokens,
        repeats=repeats,
        chunk=chunk,
        seed=seed,
        temperature=temperature,
        top_p=top_p,
        logprobs=logprobs,
        cpu_weights=cpu_weights.value,
        cpu_activations=cpu_activations.value,
        fp8_weights=fp8_weights.value,
        fp8_prefill=fp8_prefill,
        kv_dtype=kv_dtype.value,
    )
    subject = _subject(output, settings)
    bench = LatencyBench(subject, plan)
    with output.waiting("reading memory and multiplying matrices"):
        ceilings = measure_ceilings(subject.device)
        bench.start()  # behind the ceilings, whose memory it may take
    activations = plan.cpu_activations
    report = Report.on_device("ossia bench latency", settings, subject, ceilings, activations)
    if not as_json:
        show_heading(output, report)
    results: list[LatencyResult] = []
    try:
        on_cpu = subject.device.type == "cpu"
        reads = CpuReads(subject.memory_of_steps()).now if on_cpu else None
        results.extend(bench.run(ceilings, output.status, reads))
    finally:  # what was measured before a case that does not fit is worth keeping
        output.clear_status()
        if results and not as_json:
            show_latency(output, results)
    _trace(output, profile, bench.trace, subject)
    if as_json:
        output.json(report.to_dict(results))


def throughput(
    model: ModelOption = "demo",
    num_prompts: Annotated[
        int | None, typer.Option("--num-prompts", help="Requests. [512 on CUDA, 16 on CPU]")
    ] = None,
    input_len: Annotated[
        int | None, typer.Option("--input-len", help="Prompt tokens. [1024 on CUDA, 64 on CPU]")
    ] = None,
    output_len: Annotated[
        int | None, typer.Option("--output-len", help="Tokens made. [512 on CUDA, 32 on CPU]")
    ] = None,
    max_sequences: Annotated[
        int | None, typer.Option("--max-sequences", help="Side by side. [512 on CUDA, 8 on CPU]")
    ] = None,
    chunk: ChunkOption = None,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    cpu_weights: CpuWeightsOption = CpuWeights.BF16,
    cpu_activations: CpuActivationsOption = CpuActivations.FULL,
    fp8_weights: Fp8WeightsOption = Fp8Weights.NONE,
    fp8_prefill: Fp8PrefillOption = False,
    kv_dtype: KVDtypeOption = KVDtype.AUTO,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="As `ossia serve` takes it.")
    ] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue many requests at once and see how long they take.

    TTFT runs from the queueing to the first token, so it holds the waiting; TPOT is (E2EL - TTFT) /
    (output tokens - 1); ITL are the gaps between tokens; E2EL ends with the last token. "Output
    token throughput" does not count prompts, "total" does. The share of the roofline is the least time in which
    the device reads and multiplies what all forward passes need, over the duration.
    """
    settings = settings_of(locals())
    output = Output()
    _load_torch()
    from dataclasses import replace

    from ossia.bench.ceilings import measure_ceilings
    from ossia.bench.report import Report
    from ossia.bench.subject import measured_device
    from ossia.bench.throughput import ThroughputBench, default_plan
    from ossia.cli.bench_view import show_heading, show_throughput

    given = {"num_prompts": num_prompts, "input_len": input_len, "output_len": output_len, "max_sequences": max_sequences, "chunk": chunk}  # fmt: skip
    chosen = {name: value for name, value in given.items() if value is not None}
    plan = replace(
        default_plan(measured_device(device)),
        **chosen,
        seed=seed,
        cpu_weights=cpu_weights.value,
        cpu_activations=cpu_activations.value,
        fp8_weights=fp8_weights.value,
        fp8_prefill=fp8_prefill,
        kv_dtype=kv_dtype.value,
        deterministic=deterministic,
    )
    settings |= {name: getattr(plan, name) for name in given}
    subject = _subject(output, settings)
    bench = ThroughputBench(subject, plan)
    with output.waiting("measuring"):
        result = bench.run()
    ceilings = measure_ceilings(subject.device)  # behind the run, whose memory is measured too
    result = bench.compared(result, ceilings)
    activations = plan.cpu_activations
    report = Report.on_device("ossia bench throughput", settings, subject, ceilings, activations)
    _trace(output, profile, bench.trace, subject)
    if as_json:
        output.json(report.to_dict(result))
    else:
        show_heading(output, report)
        show_throughput(output, plan, result)


def kernels(
    model: ModelOption = "demo",
    batch: BatchOption = "1",
    context: Annotated[
        int, typer.Option("--context", min=1, help="Tokens of each sequence.")
    ] = 128,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Of each; the median counts.")
    ] = 20,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time a decode step, kernel by kernel.

    Beside it stands the time that its weights, and its keys and values, take to be read. Each kind of kernel is run over all layers' weights in turn, so that they come from memory. On
    GPUs where a step is one CUDA graph its launches are timed; elsewhere torch's operations.
    """
    settings = settings_of(locals())
    output = Output()
    batches = _integers(batch, "batch", least=1)
    _load_torch()
    subject = _subject(output, settings)
    from ossia.bench.ceilings import measure_ceilings
    from ossia.bench.report import Report
    from ossia.bench.step_times import time_step
    from ossia.cli.bench_view import show_heading, show_step

    with output.waiting("reading memory and multiplying matrices"):
        ceilings = measure_ceilings(subject.device)
    report = Report.on_device("ossia bench kernels", settings, subject, ceilings)
    if not as_json:
        show_heading(output, report)
    steps = []
    for size in batches:
        output.status(f"{size} sequences")
        steps.append(time_step(subject, size, context, ceilings, repeats))
        if not as_json:
            show_step(output, steps[-1], ceilings)
    if as_json:
        output.json(report.to_dict(steps))


def _load_torch() -> None:
    """Before anything else that brings it in."""
    with collector_paused():
        import torch  # noqa: F401


def _subject(output: Output, settings: dict[str, Any]) -> Subject:
    from ossia.bench.profile import check_trace_file
    from ossia.bench.subject import load_subject

    if settings.get("profile") is not None:
        check_trace_file(Path(settings["profile"]))
    with output.progress() as progress:
        subject = load_subject(
            settings["model"],
            progress=progress,
            **{name: settings[name] for name in ("dtype", "device", "revision", "threads")},
        )
    freeze_garbage()
    return subject


def _integers(text: str, field: str, least: int) -> tuple[int, ...]:
    """Numbers with commas between them."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= least for word in words):
        raise RequestError(f"{text!r} is no list of numbers from {least}, such as 1,8", field=field)
    return tuple(map(int, words))


def _trace(output: Output, file: Path | None, run: Any, subject: Subject) -> None:  # noqa: ANN401
    if file is None:
        return
    from ossia.bench.profile import write_trace

    with output.waiting("writing a trace"):
        write_trace(file, run, subject.device)
    output.note(f"trace: {file}")


for _command in (latency, throughput, bench_serve.serve, kernels, bench_load.load):
    _lines = ("\b", "Examples:", *(f"  {line}" for line in EXAMPLES[_command.__name__]))
    app.command(_command.__name__, epilog="\n".join(_lines))(_command)

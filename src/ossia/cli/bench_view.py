"""What `ossia bench` prints: a heading that says what was measured, and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ossia.cli.output import Output
from ossia.cli.units import bytes_in_words

if TYPE_CHECKING:
    from ossia.bench.ceilings import Ceilings
    from ossia.bench.kernel_time import StepTimes
    from ossia.bench.latency import LatencyResult
    from ossia.bench.load import LoadResult
    from ossia.bench.load_metrics import LoadMetrics
    from ossia.bench.report import Report
    from ossia.bench.throughput import ThroughputPlan, ThroughputResult

_METRICS = {
    "ttft_ms": "TTFT",
    "tpot_ms": "TPOT",
    "itl_ms": "ITL",
    "e2el_ms": "E2EL",
}
_FIGURES = (
    ("Mean", "mean"), ("Median", "median"), ("P90", "p90"), ("P95", "p95"), ("P99", "p99"),
)  # fmt: skip


def show_heading(output: Output, report: Report) -> None:
    """What was measured, on what, with what."""
    output.clear_status()
    words = _words_of_model(report)
    output.heading(f"{report.command}: {', '.join(words)}")
    if report.device is not None:
        output.line(f"on {_device(report.device)}")
    software = report.software
    commit = f" ({software['commit']})" if software["commit"] else ""
    versions = [f"ossia {software['ossia']}{commit}", f"Python {software['python']}"]
    if software["torch"] and report.device is not None:
        versions.insert(1, f"torch {software['torch']}")
    output.line(f"with {', '.join(versions)}, {software['date']}")
    if report.measured is not None:
        reads, products = report.measured["read_bandwidth"], report.measured["matrix_rate"]
        output.line(f"measured here: memory reads {_rate(reads)}, bfloat16 products {_flops(products)}")  # fmt: skip
    output.line()


def show_latency(output: Output, results: Sequence[LatencyResult]) -> None:
    """A line for each test, as llama-bench has them."""
    from ossia.bench.latency import PrefillResult

    rows: list[tuple[str, ...]] = []
    for one in results:
        rate = one.tokens_per_second
        start = (one.test, str(one.batch), str(one.depth), f"{rate.mean:.2f}", f"± {rate.std:.2f}")
        if isinstance(one, PrefillResult):
            what = f"{_flops(one.flops).removesuffix('/s')}, {one.share:.1%} of the product"
            rows.append((*start, f"{one.ttft_ms.median:.2f}", "TTFT", what))
        else:
            reads = bytes_in_words(round(one.weight_bytes))
            share = (
                f"{one.share:.1%} of {_rate(one.read_bandwidth)} ({one.share_with_kv:.1%} with KV)"
            )
            what = f"{reads}, {share}"
            rows.append((*start, f"{one.tpot_ms.median:.2f}", "TPOT", what))
    output.table(rows, ("test", "batch", "depth", "tokens/s", "", "median ms", "", "share"))


def show_throughput(output: Output, plan: ThroughputPlan, result: ThroughputResult) -> None:
    """The load's figures, and the engine's."""
    output.line(
        f"{plan.num_prompts} requests of {plan.input_len} tokens in, {plan.output_len} out, "
        f"{plan.max_sequences} side by side, {plan.chunk} tokens a pass"
    )
    show_load_metrics(output, result.metrics)
    rows = [("Forward passes", str(result.steps)), ("Preemptions", str(result.preemptions))]
    rows.append(("Peak memory of the process", bytes_in_words(result.peak_resident_bytes)))
    if result.peak_device_bytes is not None:
        rows.append(("Peak memory of tensors", bytes_in_words(result.peak_device_bytes)))
    if (roofline := result.roofline) is not None:
        rows.append(("Least time by the roofline (s)", f"{roofline.seconds:.2f}"))
        rows.append(("Share of the roofline", f"{roofline.share:.1%}"))
    _block(output, rows)


def show_load_metrics(output: Output, metrics: LoadMetrics) -> None:
    """The block that serving benchmarks print."""
    rows = [
        ("Successful requests", f"{metrics.completed}"),
        ("Failed requests", f"{metrics.failed}"),
        ("Benchmark duration (s)", f"{metrics.duration:.2f}"),
        ("Total input tokens", f"{metrics.input_tokens}"),
        ("Total output tokens", f"{metrics.output_tokens}"),
        ("Request throughput (req/s)", f"{metrics.requests_per_second:.2f}"),
    ]
    if metrics.goodput is not None:
        rows.append(("Request goodput (req/s)", f"{metrics.goodput:.2f}"))
    rows += [
        ("Input token throughput (tok/s)", f"{metrics.input_tokens_per_second:.2f}"),
        ("Output token throughput (tok/s)", f"{metrics.output_tokens_per_second:.2f}"),
        ("Peak output token throughput (tok/s)", f"{metrics.peak_output_tokens_per_second:.2f}"),
        ("Total token throughput (tok/s)", f"{metrics.total_tokens_per_second:.2f}"),
        ("Peak concurrent requests", f"{metrics.peak_concurrent_requests}"),
    ]
    if metrics.tokens_per_piece is not None:
        rows.append(("Output tokens per event", f"{metrics.tokens_per_piece:.2f}"))
    for field, name in _METRICS.items():
        found = getattr(metrics, field)
        for word, value in _FIGURES:
            shown = "-" if found is None else f"{getattr(found, value):.2f}"
            rows.append((f"{word} {name} (ms)", shown))
    _block(output, rows)
    for why, count in metrics.errors.items():
        output.line(f"{count} failed: {why}")


def show_step(output: Output, step: StepTimes, ceilings: Ceilings) -> None:
    """A line for each kind of kernel, and what the step comes to."""
    output.clear_status()
    output.heading(
        f"{step.batch} {'sequence' if step.batch == 1 else 'sequences'} of {step.context} tokens, {step.distinct_experts:.1f} experts chosen "
        f"in a layer; {'launches of one CUDA graph' if step.way == 'graph' else 'operations'}"
    )
    header = ("kernel", "calls", "µs", "in place", "total µs", "MB", "GB/s", "of the reads")
    output.table(list(_kernel_rows(step)), header)
    floor = step.weight_bytes / ceilings.read_bandwidth
    output.line(f"sum of these {step.sum_seconds * 1e6:.1f} µs")
    output.line(
        f"whole step {step.step_seconds * 1e6:.1f} µs = {step.batch / step.step_seconds:.1f} tokens/s; "
        f"{bytes_in_words(round(step.weight_bytes))} of weights take {floor * 1e6:.1f} µs to read: "
        f"{step.share:.1%} of the reads"
    )
    output.line(
        f"with {bytes_in_words(round(step.kv_bytes))} of keys and values {step.share_with_kv:.1%}\n"
    )


def show_load(output: Output, results: Sequence[LoadResult], *, serving: bool) -> None:
    """A line for each start."""
    rows = [
        (
            str(number),
            *(f"{seconds:.2f}" for seconds in (one.imported, one.loaded, one.ready, one.first_token)),
            bytes_in_words(one.peak_resident_bytes),
            "-" if one.peak_device_bytes is None else bytes_in_words(one.peak_device_bytes),
            f"{one.peak_over_weights:.3f}",
        )
        for number, one in enumerate(results, start=1)
    ]  # fmt: skip
    output.line("seconds from the start of the process; the most memory it held")
    if serving:
        output.line(
            "as ossia serve starts: ready is when all is compiled and captured; with the KV cache"
        )
    header = (
        "start",
        "torch",
        "loaded",
        "ready",
        "first token",
        "resident",
        "on GPU",
        "of weights",
    )
    output.table(rows, header)


def _words_of_model(report: Report) -> list[str]:
    """Which model, and in what precision it ran."""
    model = report.model
    words = [str(model["name"])]
    if "server" in model:
        words += [f"{model['api']} of {model['server']}"]
    if "dtype" in model:
        words += [f"dtype {model['dtype']}"]
    if "experts" in model:
        words += [f"experts {model['experts']}"]
    if "activations" in model and report.device is not None and report.device["type"] == "cpu":
        words += [f"dense weights {model['dense_weights']}, activations {model['activations']}"]
    elif model.get("dense_weights", model.get("dtype")) != model.get("dtype"):
        words += [f"dense weights {model['dense_weights']}"]
    if (kept := report.settings.get("kv_dtype", "auto")) != "auto":
        words += [f"KV cache {kept}"]
    if report.settings.get("fp8_prefill"):
        words += ["long prompts in 8-bit floats"]
    if "weight_bytes" in model:
        words += [f"weights {bytes_in_words(model['weight_bytes'])}"]
    return words


def _device(device: dict[str, Any]) -> str:
    if device["type"] == "cuda":
        words = [f"{device['name']} (compute capability {device['capability']})"]
        words += [f"driver {device['driver']}"] if device["driver"] else []
        words += [f"CUDA {device['cuda']}"]
        words += [f"Triton {device['triton']}"] if device["triton"] else []
        clock, most = device["sm_clock_mhz"], device["max_sm_clock_mhz"]
        words += [f"SM clock {clock} of {most} MHz"] if clock and most else []
        return ", ".join(words)
    threads = device["threads"]
    return f"{device['name']}, {threads} {'thread' if threads == 1 else 'threads'}, {device['instructions']}"  # fmt: skip


def _kernel_rows(step: StepTimes) -> Iterator[tuple[str, ...]]:
    for one in step.kernels:
        nbytes = one.read_bytes
        yield (
            one.name,
            str(one.calls),
            f"{one.seconds * 1e6:.2f}",
            "-" if one.in_place is None else f"{one.in_place * 1e6:.2f}",
            f"{one.seconds * one.calls * 1e6:.1f}",
            "-" if nbytes is None else f"{nbytes / 1e6:.3f}",
            "-" if nbytes is None else f"{nbytes / one.seconds / 1e9:.2f}",
            "-" if one.share is None else f"{one.share:.1%}",
        )


def _block(output: Output, rows: Sequence[tuple[str, str]]) -> None:
    for name, value in rows:
        output.line(f"{name + ':':<38} {value:>12}")


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_in_words(round(bytes_per_second))}/s"


def _flops(operations: float) -> str:
    return f"{operations / 1e12:.3g} TFLOP/s" if operations >= 1e12 else f"{operations / 1e9:.3g} GFLOP/s"  # fmt: skip

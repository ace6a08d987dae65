"""Time a decode step on a GPU: kernel by kernel, as one CUDA graph, and through the engine.

python benchmarks/decode_step.py [--model random:20b] [--sizes 1,2,4,8,16] [--tokens 256]

What `ossia bench kernels` and `ossia bench latency` measure, for many sizes on one loaded model.
"""

from __future__ import annotations

import argparse
import time

import torch

from ossia.bench.ceilings import measure_ceilings
from ossia.bench.latency import LatencyBench, LatencyPlan
from ossia.bench.report import Report
from ossia.bench.step_times import time_step, why_not_graph
from ossia.bench.subject import load_subject
from ossia.cli.bench_view import show_heading, show_latency, show_step
from ossia.cli.output import Output

PROMPT = 128


def numbers(text: str) -> tuple[int, ...]:
    """Of a list with commas; none of an empty one."""
    return tuple(map(int, filter(None, text.split(","))))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="random:20b")
    parser.add_argument("--sizes", default="1,2,4,8,16")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--engine", default="1,8")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    output = Output()
    started = time.perf_counter()
    subject = load_subject(chosen.model, device="cuda")
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    ceilings = measure_ceilings(subject.device)
    show_heading(output, Report.on_device("decode_step.py", vars(chosen), subject, ceilings))
    output.line(f"loaded in {seconds:.1f} s; why no graph: {why_not_graph(subject)}\n")
    for size in numbers(chosen.sizes):
        show_step(output, time_step(subject, size, PROMPT + 1, ceilings, 20), ceilings)
    if sizes := numbers(chosen.engine):
        plan = LatencyPlan(batches=sizes, prompt=PROMPT, tokens=chosen.tokens, repeats=3)
        show_latency(output, list(LatencyBench(subject, plan).run(ceilings)))
    output.line(f"peak memory {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")


if __name__ == "__main__":
    main()

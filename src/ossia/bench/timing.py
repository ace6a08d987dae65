"""Timing on a device: a clock on the CPU, events and graphs on CUDA."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

_WARM_UPS = 3


def median_seconds(run: Callable[[], object], device: torch.device, repeats: int = 20) -> float:
    """Median seconds of a call, started from Python; three calls before are not counted."""
    if device.type == "cuda":
        return replay_ms(run, repeats) * 1e-3
    return statistics.median(clock_seconds(run, repeats))


def clock_seconds(run: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call on the CPU, after one that is not counted."""
    run()
    times: list[float] = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return times


def graph_ms(run: Callable[[], object], repeats: int = 20) -> float:
    """Median milliseconds of the replay of a CUDA graph of a call."""
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return replay_ms(graph.replay, repeats)


def replay_ms(replay: Callable[[], object], repeats: int = 20) -> float:
    """Median milliseconds of what a call enqueues on CUDA; three calls before are not counted."""
    times: list[float] = []
    for _ in range(repeats + _WARM_UPS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times[_WARM_UPS:])

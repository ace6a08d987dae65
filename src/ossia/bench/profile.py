"""Traces: what ran on the CPU and the GPU, as a file for chrome://tracing or Perfetto."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ossia.errors import RequestError


def check_trace_file(file: Path) -> None:
    """Refuse early what could not be written once everything is measured.

    Raises:
        RequestError: it is a folder, or in none.
    """
    if file.is_dir() or not file.parent.is_dir():
        raise RequestError(
            f"{file} is a folder, or in none; give the name of a file", field="profile"
        )


def write_trace(file: Path, run: Callable[[], object], device: torch.device) -> None:
    """Run something under torch's profiler and write what it saw; measured figures stay clear of it.

    Args:
        file: JSON, compressed if the name ends with .gz.
        run: What to look at.
        device: Where it runs; on CUDA kernels are recorded too.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        run()
    seen.export_chrome_trace(str(file))

"""Load: from the start of a process to its first token, and the memory that this takes.

Each time is that of a process of its own, `python -m ossia.bench.load_process`. Both read the same
monotonic clock, so that starting Python and importing torch are counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ossia.errors import OssiaError, RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """One start; times in seconds from the process's start.

    Args:
        imported: Python runs and torch is there.
        loaded: The weights are where they belong (on the CPU: mapped, and read when first used).
        ready: The engine can take a request; where it serves, one that waits for nothing but its tokens.
        first_token: It has given the first token of one.
        weight_bytes: Of all weights.
        peak_resident_bytes: The most memory that the process held on the host.
        peak_device_bytes: The most that tensors took on the GPU; None on the CPU.
        peak_over_weights: The peak of the device that the weights are on, over their bytes.
    """

    imported: float
    loaded: float
    ready: float
    first_token: float
    weight_bytes: int
    peak_resident_bytes: int
    peak_device_bytes: int | None
    peak_over_weights: float


def measure_load(
    model: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    prompt: int = 8,
    threads: int | None = None,
    serving: bool = False,
    environ: Mapping[str, str] | None = None,
) -> LoadResult:
    """Start a process that loads a model and makes a token.

    Args:
        model: As `load_subject` takes it, as are dtype, device, revision and threads.
        dtype: Of floats.
        device: Where to.
        revision: Of a hub id.
        prompt: Tokens of the prompt.
        threads: Of torch on the CPU.
        serving: Whether the engine is one as `ossia serve` makes it, with all kernels compiled and CUDA graphs captured
            before it is ready; else one for a single sequence, which does that when it must.
        environ: The process's environment; None: this one's.

    Raises:
        RequestError: the prompt has no length.
        OssiaError: the process failed; says why.
    """
    if prompt < 1:
        raise RequestError(f"{prompt} is too few; at least 1", field="prompt")
    order = {
        "model": model,
        "dtype": dtype,
        "device": device,
        "revision": revision,
        "prompt": prompt,
        "threads": threads,
        "serving": serving,
    }
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ossia.bench.load_process", json.dumps(order)],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    lines = done.stdout.splitlines()
    told = json.loads(lines[-1]) if lines else {}
    if done.returncode or "first_token" not in told:
        why = told.get("error") or " ".join(done.stderr.split())[-500:] or "it said nothing"
        raise OssiaError(f"the process that loads {model} failed ({done.returncode}): {why}")
    moments = {name: told[name] - begun for name in ("imported", "loaded", "ready", "first_token")}
    peak = told["peak_device_bytes"] or told["peak_resident_bytes"]
    return LoadResult(
        **moments,
        weight_bytes=told["weight_bytes"],
        peak_resident_bytes=told["peak_resident_bytes"],
        peak_device_bytes=told["peak_device_bytes"],
        peak_over_weights=peak / told["weight_bytes"],
    )

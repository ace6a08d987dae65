"""Load a checkpoint on the CPU, generate a few tokens, and say what memory that took.

    ossia convert random:20b /tmp/random20b       # 13.8 GB, once
    python benchmarks/load_and_generate.py /tmp/random20b

Prints the time to load, the time of each token, and the peak resident memory beside the size of
the weights. Pages of the mapped files that were touched count as resident.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.checkpoint.reader import open_checkpoint
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.model.heads import CausalLM
from ossia.types import Request, SamplingParams


def peak_resident_bytes() -> int:
    """The process's high-water mark, as Linux keeps it."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def touch(param: torch.Tensor) -> int:
    """Read a byte of every page of memory; the sum keeps the reads from being left out."""
    return int(param.view(torch.uint8).flatten()[::4096].sum())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=8)
    parser.add_argument("--touch-all", action="store_true", help="read every weight first")
    arguments = parser.parse_args()

    with open_checkpoint(arguments.folder) as checkpoint:
        weights = checkpoint.nbytes
    start = time.perf_counter()
    model = load_module(CausalLM, find_model(str(arguments.folder)))
    print(f"load: {time.perf_counter() - start:.2f} s")
    if arguments.touch_all:
        start = time.perf_counter()
        checksum = sum(touch(param) for param in model.parameters())
        print(f"touch all: {time.perf_counter() - start:.1f} s (checksum {checksum})")

    engine = SyncEngine(EngineCore(model, EngineConfig(num_pages=64)))
    request = Request(
        request_id="load",
        prompt_ids=tuple(range(1000, 1000 + arguments.prompt_tokens)),
        sampling=SamplingParams(temperature=0.0, max_tokens=arguments.tokens),
    )
    start = time.perf_counter()
    seconds: list[float] = []
    ids: list[int] = []
    for output in engine.stream(request):
        now = time.perf_counter()
        seconds.append(now - start)
        start = now
        assert output.token_id is not None, output.error
        ids.append(output.token_id)
    peak = peak_resident_bytes()
    print(f"tokens: {ids}")
    print(
        f"first token: {seconds[0]:.1f} s; then {sum(seconds[1:]) / len(seconds[1:]):.2f} s/token"
    )
    print(
        f"weights {weights / 1e9:.2f} GB, peak resident {peak / 1e9:.2f} GB: {peak / weights:.3f}"
    )


if __name__ == "__main__":
    main()

"""From the start of a process to an engine that is warmed up, from a checkpoint on disk.

    python -m benchmarks.start_to_ready
    python -m benchmarks.start_to_ready --model random:20b --bar 40

The first start finds nothing: no compiled kernel in Ossia's and Triton's caches, no compiled module of
Python's, and none of the checkpoint's pages in memory. The next ones find what it has left. Each is a
process of its own, with an engine as `ossia serve` makes it. "warm" is when the first request would wait
for nothing but its tokens; that of the slowest start is compared with the bar. `ossia bench load` measures
the way to the first token of an engine that is not warm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.random_checkpoint import on_disk

_LIFE = """
import json, sys, time
times = {}
from ossia.garbage import collector_paused
with collector_paused():
    from ossia.api.loading import load_module
    from ossia.api.model_source import find_model
    from ossia.engine.config import EngineConfig
    from ossia.engine.core import EngineCore
    from ossia.model.heads import CausalLM
    from ossia.types import Request, SamplingParams
times["imported"] = time.monotonic()
model = load_module(CausalLM, find_model(sys.argv[1]), device=sys.argv[2])
times["loaded"] = time.monotonic()
core = EngineCore(model, EngineConfig())
times["made"] = time.monotonic()
core.warm_up()
times["warm"] = time.monotonic()
sampling = SamplingParams(temperature=0.0, max_tokens=1)
core.submit(Request(request_id="first", prompt_ids=tuple(range(8)), sampling=sampling))
(output,) = core.step()
assert output.error is None, output.error
times["first token"] = time.monotonic()
print(json.dumps(times))
"""


def one_start(folder: Path, device: str, environ: Mapping[str, str]) -> dict[str, float]:
    """Seconds from a process's start until it has imported, loaded, made, warmed up and answered."""
    begun = time.monotonic()
    command = [sys.executable, "-c", _LIFE, str(folder), device]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    moments = json.loads(done.stdout.splitlines()[-1])
    return {name: moment - begun for name, moment in moments.items()}


def drop_from_memory(folder: Path) -> None:
    """Have the system forget a folder's files; reading them goes to the disk again."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:20b")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ossia-random-20b"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--bar", type=float, default=40.0, help="seconds")
    given = parser.parse_args()
    folder = on_disk(given.model, given.folder)
    slowest = 0.0
    with tempfile.TemporaryDirectory() as caches:
        environ = {
            **os.environ,
            "OSSIA_CACHE": f"{caches}/ossia",
            "TRITON_CACHE_DIR": f"{caches}/triton",
            "PYTHONPYCACHEPREFIX": f"{caches}/modules",
        }
        drop_from_memory(folder)
        for number in range(given.starts):
            times = one_start(folder, given.device, environ)
            slowest = max(slowest, times["warm"])
            found = "nothing cached" if number == 0 else "all cached"
            print(f"start {number + 1}, {found}: " + ", ".join(f"{name} {moment:.1f} s" for name, moment in times.items()), flush=True)  # fmt: skip
    holds = slowest <= given.bar
    print(f"slowest {slowest:.1f} s: {'within' if holds else 'NOT within'} {given.bar:.0f} s")
    return int(not holds)


if __name__ == "__main__":
    raise SystemExit(main())

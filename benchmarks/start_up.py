"""How long it takes until something can be asked: import, tokenizer, pipeline.

    python -m benchmarks.start_up [MODEL] [--times N]

Each step runs in processes of its own; the fastest of N is printed, wall clock and CPU, with what
a process without ossia takes, and what importing torch alone takes. A run before that is not
counted: it unpacks the demo and compiles modules, as the first run after an installation does.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

STEPS = {
    "python alone": "pass",
    "import torch": "import torch",
    "import ossia": "import ossia",
    "AutoTokenizer": "from ossia import AutoTokenizer; AutoTokenizer.from_pretrained({model!r})",
    "pipeline": "from ossia import pipeline; pipeline(model={model!r})",
}


def seconds(code: str, times: int, compiled: str) -> tuple[float, float]:
    """The fastest of several runs of a process: by the clock on the wall, and on its CPU."""
    runs = [_once(code, compiled) for _ in range(times + 1)][1:]
    return min(wall for wall, _ in runs), min(cpu for _, cpu in runs)


def _once(code: str, compiled: str) -> tuple[float, float]:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    cpu, start = _cpu_of_children(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start, _cpu_of_children() - cpu


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as compiled:
        for name, code in STEPS.items():
            wall, cpu = seconds(code.format(model=arguments.model), arguments.times, compiled)
            print(f"{name:15} {wall * 1000:8.0f} ms {cpu * 1000:8.0f} ms of CPU")


if __name__ == "__main__":
    main()

"""How long it takes until something can be asked: import, tokenizer, pipeline.

    python -m benchmarks.start_up [MODEL] [--times N]

Each step runs in processes of its own; the fastest of N is printed, with what a process without
ossia takes, and what importing torch alone takes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

STEPS = {
    "python alone": "pass",
    "import torch": "import torch",
    "import ossia": "import ossia",
    "AutoTokenizer": "from ossia import AutoTokenizer; AutoTokenizer.from_pretrained({model!r})",
    "pipeline": "from ossia import pipeline; pipeline(model={model!r})",
}


def seconds(code: str, times: int) -> float:
    """The fastest of several runs of a process."""
    fastest = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    for name, code in STEPS.items():
        taken = seconds(code.format(model=arguments.model), arguments.times)
        print(f"{name:15} {taken * 1000:8.0f} ms")


if __name__ == "__main__":
    main()

"""benchmarks/gpu_precision.py, with the CPU in the GPU's place."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_table_of_layers_and_the_answers():
    words = [
        "random:tiny",
        "--device",
        "cpu",
        "--prompts",
        "2",
        "--length",
        "5",
        "--answers",
        "3",
        "--tokens",
        "4",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_precision", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    rows = re.findall(
        r"^\| (into layer \d+|final norm|logits) \| (\S+) \| (\S+) \|$", done.stdout, re.M
    )
    assert [name for name, *_ in rows][-2:] == ["final norm", "logits"]
    assert len(rows) >= 4
    for _, here, there in rows:
        assert here == there, "the same device"
        assert float(here) < 0.1
    assert float(rows[-1][1]) > 0, "bfloat16 rounds"
    assert "greedy answers as on the CPU: 3 of 3" in done.stdout
    assert done.stdout.endswith("--fp8-weights: needs a CUDA device\n")

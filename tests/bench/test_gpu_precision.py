"""benchmarks/gpu_precision.py, with the CPU in the GPU's place."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

from benchmarks import gpu_precision

from ossia.bench.playing import random_prompt
from ossia.bench.subject import load_subject
from ossia.engine import precision
from ossia.kernels.fp8 import scaled
from ossia.types import SamplingParams

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
    assert "fp8 KV cache: kv_dtype='fp8' is for models on CUDA; leave it out" in done.stdout
    needs = "needs a CUDA device of compute capability 9.0"
    assert done.stdout.endswith(f"--fp8-prefill: {needs}\n--fp8-weights: needs a CUDA device\n")


def test_what_an_fp8_cache_changes(monkeypatch, capsys):
    """By the reference's arithmetic, which users do not get."""
    monkeypatch.setattr(precision, "_why_not_fp8_rows", lambda *_: None)
    network = load_subject("random:tiny", device="cpu").network
    numbers = random.Random(3)
    prompts = [random_prompt(numbers, network.config.vocab_size - 1100, 60) for _ in range(2)]
    sampling = SamplingParams(temperature=0.0, max_tokens=5)
    plain = gpu_precision.answers(network, prompts, sampling)
    gpu_precision.compare_kv(network, prompts, plain, sampling)
    key, value, told = capsys.readouterr().out.splitlines()
    for line, name in ((key, "key"), (value, "value")):
        found = re.fullmatch(rf"largest {name} (\S+), below 2\^-6 (\S+)% of all", line)
        assert found is not None, line
        assert 0.1 < float(found[1]) < 10
        assert 0 < float(found[2]) < 50
    found = re.fullmatch(
        r"fp8 KV cache: the same answer \d of 2, mean KL (\S+), maximum (\S+), the most likely token kept "
        r"(\S+)% of 10",
        told,
    )
    assert found is not None, told
    assert 0 < float(found[1]) <= float(found[2]) < 1e-3


def test_what_long_prompts_in_8_bit_floats_change(monkeypatch, capsys):
    monkeypatch.setattr(gpu_precision, "why_no_copies", lambda _: None)
    monkeypatch.setattr(scaled, "MANY_TOKENS", 80)
    network = load_subject("random:tiny", device="cpu").network
    numbers = random.Random(3)
    prompts = [random_prompt(numbers, network.config.vocab_size - 1100, 90) for _ in range(2)]
    gpu_precision.compare_prefill(network, prompts)
    found = re.fullmatch(
        r"--fp8-prefill: 2 prompts of 90, logits (\S+) off, mean KL (\S+), maximum (\S+), the most likely token "
        r"kept (\S+)% of 128\n",
        capsys.readouterr().out,
    )
    assert found is not None
    assert 1e-3 < float(found[1]) < 0.2
    assert 0 < float(found[2]) <= float(found[3]) < 0.1

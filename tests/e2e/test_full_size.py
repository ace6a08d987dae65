"""A checkpoint of the real size: written, loaded without a copy, and run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ossia.cli.main import main

_MEASURE = """
import json, sys, time
from ossia.api.runtime import Runtime
from ossia.api.text_generation import generate_text
from ossia.types import SamplingParams

started = time.perf_counter()
runtime = Runtime.load(sys.argv[1], device="cpu")
loaded = time.perf_counter()
ids = runtime.tokenizer.encode("How many rs are in the word 'strawberry'?")
sampling = SamplingParams(max_tokens=8, temperature=0)
pieces = list(generate_text(runtime.engine, runtime.tokenizer, ids, sampling=sampling))
ended = time.perf_counter()
with open("/proc/self/status") as lines:
    status = dict(line.split(":", 1) for line in lines)
print(json.dumps({
    "peak": int(status["VmHWM"].split()[0]) * 1024,
    "load_s": loaded - started,
    "s_per_token": (ended - loaded) / 8,
    "tokens": sum(piece.token_id is not None for piece in pieces),
}))
"""


@pytest.fixture
def large_folder():
    """Gone after the test; pytest would keep its own temporary folders for a while."""
    with tempfile.TemporaryDirectory(prefix="ossia-20b-") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_a_20b_checkpoint_peaks_at_its_own_size(large_folder, capsys):
    folder = large_folder / "20b"
    assert main(["convert", "random:20b", str(folder)]) == 0
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{size / 1e9:.2f} GB: {measured}")
    assert measured["tokens"] == 8
    assert measured["peak"] <= 1.12 * size

"""The most GPU memory that one long request takes, the whole process counted.

    python -m benchmarks.peak_memory
    python -m benchmarks.peak_memory --model random:20b --prompt 7900 --output 100 --bar 16.0

A process loads a checkpoint, makes an engine for one sequence of 8,192 tokens, warms it up and runs a
request. Meanwhile `nvidia-smi` is asked every 50 ms how much of the GPU is in use, and the process asks
the driver every 2 ms (`torch.cuda.mem_get_info`), since relaying weights takes more than it keeps, for
moments only. Both count everything: CUDA's context and code, graphs, what torch keeps free. What was in
use before is taken off, so nobody else may use the GPU: where torch alone held more than both saw, the figure
is refused. The larger of the two peaks is compared with the bar, in GB of 10^9 bytes.

The engine is made for this: no more pages than one sequence needs, and prompts in chunks of 2,048, since
a pass of all tokens takes 0.15 MB for each of them (`kv_budget.pass_bytes`, an upper estimate).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.random_checkpoint import on_disk

_CONTEXT = 8192
_RESERVED = "most that torch has reserved in the request"
_SMI = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]


class Highest:
    """The largest of the numbers that a thread reads, all the time or since `stage` was called.

    Args:
        read: Gives the next one, when it is there; None to end.
    """

    def __init__(self, read: Callable[[], int | None]) -> None:
        self.peaks: dict[str, int] = {}
        self._stage = "start"
        self._read = read
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stage(self, name: str) -> None:
        """From now on it is about this."""
        self._stage = name

    def end(self) -> None:
        """Stop reading; a thread inside the driver must not outlive the interpreter."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set() and (value := self._read()) is not None:
            stage = self._stage
            self.peaks[stage] = max(value, self.peaks.get(stage, 0))


def _of_driver() -> int:
    """Bytes of the GPU in use."""
    import torch

    time.sleep(0.002)
    free, total = torch.cuda.mem_get_info(0)
    return total - free


def _of_smi(process: subprocess.Popen[str]) -> int | None:
    """Bytes of the GPU in use, or None when it was ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    return int(line) * 2**20 if line.strip().isdecimal() else None


def _one_life(order: dict[str, Any]) -> dict[str, Any]:
    """Load, run, and say what was in use."""
    import torch

    from ossia.api.loading import load_module
    from ossia.api.model_source import find_model
    from ossia.cache.allocator import PageAllocator
    from ossia.cache.layout import KVLayout
    from ossia.engine.config import EngineConfig
    from ossia.engine.core import EngineCore
    from ossia.model.heads import CausalLM
    from ossia.types import Request, SamplingParams

    torch.cuda.init()
    highest = Highest(_of_driver)
    highest.stage("load")
    model = load_module(CausalLM, find_model(order["folder"]), device="cuda")
    weights = sum(param.nbytes for param in model.parameters())
    chunk, config = order["chunk"], EngineConfig()
    pages = PageAllocator(
        windows=KVLayout.of(model.config, config.page_size).windows,
        page_size=config.page_size,
        num_pages=1,
        prefix_reuse=False,
    )
    highest.stage("make the engine (relay the weights)")
    core = EngineCore(
        model,
        EngineConfig(
            max_context=_CONTEXT, max_sequences=1, prefill_chunk=chunk, max_batch_tokens=chunk,
            num_pages=pages.pages_to_hold(_CONTEXT, chunk),
        ),
    )  # fmt: skip
    torch.cuda.synchronize()
    made = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    highest.stage("warm up")
    core.warm_up()
    highest.stage("request")
    torch.cuda.reset_peak_memory_stats()
    prompt = torch.randint(0, model.config.vocab_size, (order["prompt"],)).tolist()
    sampling = SamplingParams(temperature=0.0, max_tokens=order["output"])
    core.submit(Request(request_id="long", prompt_ids=tuple(prompt), sampling=sampling))
    count = 0
    while core.has_work:
        for output in core.step():
            assert output.error is None, output.error
            count += 1
    assert count == order["output"], count
    torch.cuda.synchronize()
    time.sleep(0.3)  # until nvidia-smi has seen it, too
    highest.end()
    return {
        "weights": weights,
        "driver": highest.peaks,
        "peak of tensors while the engine is made": made[0],
        "tensors of a new engine": made[1],
        "peak of tensors in the request": torch.cuda.max_memory_allocated(),
        _RESERVED: torch.cuda.max_memory_reserved(),
    }


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:20b")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ossia-random-20b"))
    parser.add_argument("--prompt", type=int, default=7900)
    parser.add_argument("--output", type=int, default=100)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--bar", type=float, default=16.0, help="GB")
    parser.add_argument("--order", help=argparse.SUPPRESS)  # for the process that is measured
    given = parser.parse_args()
    if given.order is not None:
        print(json.dumps(_one_life(json.loads(given.order))))
        return 0
    order = {
        "folder": str(on_disk(given.model, given.folder)),
        "prompt": given.prompt, "output": given.output, "chunk": given.chunk,
    }  # fmt: skip
    before = int(subprocess.run(_SMI, capture_output=True, text=True, check=True).stdout) * 2**20
    smi = subprocess.Popen([*_SMI, "--loop-ms=50"], stdout=subprocess.PIPE, text=True)
    highest = Highest(lambda: _of_smi(smi))
    command = [sys.executable, "-m", "benchmarks.peak_memory", "--order", json.dumps(order)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    smi.terminate()
    smi.wait()
    highest.end()
    told = json.loads(done.stdout.splitlines()[-1])
    by_driver: dict[str, int] = told.pop("driver")
    print(f"in use before: {before / 1e9:.2f} GB, taken off below; one request of {given.prompt} + {given.output} tokens, chunks of {given.chunk}")  # fmt: skip
    for name, value in told.items():
        print(f"{name}: {value / 1e9:.2f} GB")
    for name, value in by_driver.items():
        print(f"by the driver, {name}: {(value - before) / 1e9:.2f} GB")
    seen = max(highest.peaks.values(), default=0)
    assert seen, "nvidia-smi said nothing"
    print(f"by nvidia-smi: {(seen - before) / 1e9:.2f} GB")
    peak = max(seen, *by_driver.values()) - before
    if peak < told[_RESERVED]:
        print(
            "somebody else's memory was given back meanwhile: no figure; run it again",
            file=sys.stderr,
        )
        return 2
    peak /= 1e9
    holds = peak < given.bar
    print(f"peak {peak:.2f} GB: {'below' if holds else 'NOT below'} {given.bar} GB")
    return int(not holds)


if __name__ == "__main__":
    raise SystemExit(main())

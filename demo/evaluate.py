"""Measure the shipped demo with Ossia's own engine: `python -m demo.evaluate`.

Prompts are held out of training by a hash of words, sums and tool names. Letters, sums and calls
are asked in first turns; the suites named "any" mix in follow-ups, histories and instructions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from demo.scoring import measure
from ossia.api.runtime import Runtime
from ossia.engine.config import EngineConfig
from ossia.tokenizer import special
from ossia.types import Request, SamplingParams

_MAX_TOKENS = 260
_STOPS = tuple(sorted(special.ACTION_STOP_TOKENS))


def generate(
    runtime: Runtime, sampling: SamplingParams, prompts: Sequence[Sequence[int]]
) -> list[list[int]]:
    """One continuation of each prompt, in their order."""
    # Neighbours of one length make even batches.
    order = sorted(range(len(prompts)), key=lambda idx: len(prompts[idx]))
    requests = [
        Request(request_id=str(idx), prompt_ids=tuple(prompts[idx]), sampling=sampling)
        for idx in order
    ]
    results = {result.request_id: result for result in runtime.engine.generate(requests)}
    return [results[str(idx)].continuations[0].token_ids for idx in range(len(prompts))]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--count", type=int, default=200, help="prompts in each of the main suites")
    parser.add_argument("--only", default="", help="only suites whose names begin so")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts; training used 0")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--wrong", type=Path, help="file for the prompts that went wrong")
    chosen = parser.parse_args()
    config = EngineConfig(max_sequences=64, max_context=1024)
    dtype = getattr(torch, chosen.dtype)
    runtime = Runtime.load(chosen.model, dtype=dtype, config=config)
    sampling = SamplingParams(
        temperature=chosen.temperature, stop_token_ids=_STOPS, max_tokens=_MAX_TOKENS, seed=0
    )
    start = time.monotonic()
    table, wrong = measure(
        partial(generate, runtime, sampling), chosen.count, chosen.seed, chosen.only
    )
    print(json.dumps(table, indent=1))
    print(f"{time.monotonic() - start:.0f} seconds")
    if chosen.wrong is not None:
        chosen.wrong.write_text("\n".join(wrong) + "\n")


if __name__ == "__main__":
    main()

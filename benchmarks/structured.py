"""What grammars cost: a mask for each token, and 64 constrained streams beside unconstrained ones.

    OMP_NUM_THREADS=1 python benchmarks/structured.py masks
    OMP_NUM_THREADS=1 python benchmarks/structured.py streams random:tiny
    OMP_NUM_THREADS=1 python benchmarks/structured.py streams demo

`masks` follows known texts with llguidance's matchers on one thread; times are of the processor.
`streams` runs 8 free streams beside 64 others, which are free as well or held to a schema, by turns
and each several times; it compares the medians of what a step takes, by the clock and in time of the
processor, which is what a step would take if nothing were done beside the forward pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from ossia.api.runtime import Runtime
from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.engine.config import EngineConfig
from ossia.harmony import HeaderRules
from ossia.structured import Grammar
from ossia.structured.cache import GrammarCache
from ossia.structured.compiling import CompiledGrammar, next_tokens
from ossia.tokenizer import Tokenizer
from ossia.types import Request, SamplingParams, TokenMask

_OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "count": {"type": "integer"},
        "place": {
            "type": "object",
            "properties": {"x": {"type": "number"}},
            "required": ["x"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "tags", "count", "place"],
    "additionalProperties": False,
}
_TEXT = {
    "name": "Alice in Wonderland said hello to the world and to all others in it",
    "tags": ["red", "green things", "blue"],
    "count": 1234567,
    "place": {"x": 1.2345},
}
_SHORT = {"type": "array", "items": {"type": "string", "maxLength": 40}}
_CASES: dict[str, tuple[Grammar, object]] = {
    "object": (Grammar.json_schema(_OBJECT), _TEXT),
    "any object": (Grammar.json_object(), _TEXT),
    "short strings": (Grammar.json_schema(_SHORT), ["red", "green things", "a longer text, so"]),
    "enum of 10,000": (
        Grammar.json_schema({"enum": [f"value {number * 7919}" for number in range(10_000)]}),
        "value 79190",
    ),
    "500 optional": (
        Grammar.json_schema({"properties": {f"p{n}": {"type": "null"} for n in range(500)}}),
        {"p3": None, "p250": None, "p499": None},
    ),
    "regex": (Grammar.regex(r"(\w+ )*\w+"), None),
}


def measure_masks() -> None:
    """Microseconds of a mask and of a step of the matcher."""
    tokenizer = Tokenizer.o200k_harmony()
    cache = GrammarCache(tokenizer)
    cache.compiled(Grammar.regex("a"))  # the vocabulary is not part of what is measured
    print(f"{'':16}{'compile ms':>12}{'mean us':>10}{'median us':>10}{'max us':>10}{'step us':>10}")
    for name, (grammar, value) in _CASES.items():
        begun = time.perf_counter()
        compiled = cache.compiled(grammar)
        compile_ms = (time.perf_counter() - begun) * 1e3
        text = "Hello to the world and all in it" if value is None else json.dumps(value)
        masks, steps = [], []
        for _ in range(5):
            _follow(compiled, tokenizer.encode(text), masks, steps)
        figures = (statistics.mean(masks), statistics.median(masks), max(masks))
        figures = (compile_ms, *figures, statistics.mean(steps))
        print(f"{name:16}{figures[0]:12.1f}" + "".join(f"{value:10.1f}" for value in figures[1:]))


def _follow(
    compiled: CompiledGrammar, ids: list[int], masks: list[float], steps: list[float]
) -> None:
    matcher = compiled.matcher.deep_copy()
    for token in ids:
        begun = time.thread_time()
        next_tokens(matcher)
        between = time.thread_time()
        assert matcher.consume_token(token), token
        masks.append((between - begun) * 1e6)
        steps.append((time.thread_time() - between) * 1e6)


class _Endless:
    """A mask that takes the same path with every token: what is drawn is not its business.

    Random weights would leave a schema's strings after a few tokens or never, as the draw has it.
    """

    def __init__(self, mask: TokenMask, ids: list[int]) -> None:
        self._mask, self._ids = mask, iter(ids)

    def allowed(self) -> bytes | bytearray | memoryview | None:
        return self._mask.allowed()

    def accept(self, token_id: int) -> None:
        self._mask.accept(next(self._ids))


def measure_streams(model: str, *, num_tokens: int, num_streams: int, repeats: int) -> None:
    """Milliseconds of a step with free and with constrained streams."""
    config = EngineConfig(max_sequences=num_streams + 8, kv_cache_bytes=1 << 28)
    runtime = Runtime.load(model, dtype="float32", config=config)
    rules = HeaderRules(final_only=True)
    masks = {
        "headers only": BoundMasks(TurnMasks(rules=rules), runtime.tokenizer),
        "schema": BoundMasks(
            TurnMasks(rules=rules, grammars={"final": Grammar.json_schema(_OBJECT)}),
            runtime.tokenizer,
        ),
    }
    text = json.dumps(_TEXT)
    ids = runtime.tokenizer.encode_with_special(f"<|channel|>final<|message|>{text}")
    for one in masks.values():
        one.prepare()
    num_tokens = min(num_tokens, len(ids))
    times: dict[str, list[tuple[float, float]]] = {"free": [], **{name: [] for name in masks}}
    for repeat in range(repeats + 1):
        for name, found in times.items():
            mask = masks.get(name)
            seconds = _run(runtime, mask, ids, num_tokens, num_streams)
            if repeat:  # the first time warms up
                found.append(seconds)
    for which, kind in enumerate(("clock", "processor")):
        free = statistics.median(one[which] for one in times["free"])
        for name, found in times.items():
            each = sorted(one[which] / num_tokens * 1e3 for one in found)
            ratio = statistics.median(each) / (free / num_tokens * 1e3)
            figures = ", ".join(f"{one:.1f}" for one in each)
            print(f"{kind:10} {name:13} {ratio:6.3f} of free; ms a step: {figures}")


def _run(
    runtime: Runtime, mask: BoundMasks | None, ids: list[int], num_tokens: int, num_streams: int
) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    prompt = tuple(runtime.tokenizer.encode_with_special("<|start|>assistant"))
    sampling = SamplingParams(max_tokens=num_tokens, seed=1)
    requests = [
        Request(
            request_id=str(number),
            prompt_ids=prompt,
            sampling=sampling,
            make_mask=(lambda index: _Endless(mask(index), ids))
            if mask is not None and number < num_streams
            else None,
        )
        for number in range(num_streams + 8)
    ]
    begun = time.perf_counter(), time.process_time()
    results = runtime.engine.generate(requests)
    seconds = time.perf_counter() - begun[0], time.process_time() - begun[1]
    for result in results:
        assert len(result.continuations[0].token_ids) == num_tokens, result.continuations[0].error
    return seconds


def main() -> None:
    """Measure what is asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("what", choices=["masks", "streams"])
    options.add_argument("model", nargs="?", default="random:tiny")
    options.add_argument("--tokens", type=int, default=60)
    options.add_argument("--streams", type=int, default=64)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    if chosen.what == "masks":
        measure_masks()
    else:
        measure_streams(
            chosen.model,
            num_tokens=chosen.tokens,
            num_streams=chosen.streams,
            repeats=chosen.repeats,
        )


if __name__ == "__main__":
    main()

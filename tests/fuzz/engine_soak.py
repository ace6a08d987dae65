"""An engine that is never idle: no page is lost, nothing fails, and it gets no slower.

    cd tests && python -m fuzz.engine_soak --model random:20b --seconds 240
    cd tests && python -m fuzz.engine_soak --model demo --seconds 60 --deterministic

In one process, without a server: half as many requests again as run side by side are there at any
time. Prompts and outputs are of mixed lengths, many prompts start alike, some requests are aborted at
some moment, waiting or running; part is greedy, part drawn by a seed, part asks for log-probabilities
or two continuations. Of each hundred requests, counted from the first, as many have each wish, and lengths are spread
alike; so what one stretch of time is asked is much like what another is, and their rates tell how fast the engine is. The pages'
books are checked all along, and each output is counted.

Output tokens a second are printed for every 15 s. A warm-up goes before, until four times as many requests have
ended as run side by side, so that these no longer are as old as each other; then the first half minute is compared with the mean of the rest: 5 % more
or less is a failure, as is an error or a lost page.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.placement import torch_device
from ossia.bench.memory import peak_resident_bytes
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.garbage import freeze_garbage
from ossia.model.heads import CausalLM
from ossia.tokenizer import special
from ossia.types import FinishReason, Request, SamplingParams

WINDOW = 15.0
"""Seconds for which a rate is given."""
_FIRST = 2  # windows with which the rest is compared
_TOLERANCE = 0.05
_STEMS = 6
_SHARE_ABORTED = 0.1
_CHECK_EVERY = 5.0  # seconds
_DECK = 100  # requests
_WARM = 4  # requests that end before, for each that runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What requests are like.

    Args:
        live: Requests that are there at any time.
        longest_prompt: Tokens.
        longest_output: Tokens.
        vocab: Ids are below it.
    """

    live: int
    longest_prompt: int
    longest_output: int
    vocab: int


class Decks:
    """Numbers in [0, 1) for each purpose, shuffled: of a hundred, each hundredth holds one."""

    def __init__(self, draw: Random) -> None:
        self._draw = draw
        self._left: dict[str, list[int]] = {}

    def next(self, purpose: str) -> float:
        left = self._left.setdefault(purpose, [])
        if not left:
            left += range(_DECK)
            self._draw.shuffle(left)
        return (left.pop() + self._draw.random()) / _DECK


class Soak:
    """One run.

    Args:
        core: Used by nobody else.
        mixture: What it is asked.
        seed: Of everything that is drawn.

    Attributes:
        counts: What happened so far, by name.
    """

    def __init__(self, core: EngineCore, mixture: Mixture, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._core = core
        self._mixture = mixture
        self._draw = Random(seed)
        self._decks = Decks(self._draw)
        self._stems = [
            self._ids(round(mixture.longest_prompt * (idx + 1) / (2 * _STEMS)))
            for idx in range(_STEMS)
        ]
        self._missing: dict[tuple[str, int], int] = {}  # tokens that continuations have yet to give
        self._aborts: list[tuple[int, str]] = []  # heap: step, request
        self._steps = 0

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Keep the engine busy for so long.

        Raises:
            AssertionError: a page is lost, an output failed, is missing or was not asked for.
        """
        while goes_on():
            while len(self._core.live_requests) < self._mixture.live:
                self._submit()
            self._step()

    def drain(self) -> None:
        """Let it end what it has.

        Raises:
            AssertionError: as for `run`; or something is left.
        """
        while self._core.has_work:
            self._step()
        self.check()
        assert not self._missing, f"continuations without an end: {sorted(self._missing)}"
        stats = self._core.stats()
        assert (stats.pages_held, stats.num_running, stats.num_waiting) == (0, 0, 0), stats

    def check(self) -> None:
        """Assert that no page is lost."""
        self._core.check()
        assert self._core.stats().failed_steps == 0, "a forward pass failed"

    def _submit(self) -> None:
        number, most = self._decks.next, self._mixture
        self.counts["requests"] += 1
        name = str(self.counts["requests"])
        stem = self._stems[int(number("stem") * _STEMS)] if number("has stem") < 0.5 else ()
        own = self._ids(1 + int((most.longest_prompt - len(stem) - 1) * number("prompt") ** 3))
        length = 1 + int((most.longest_output - 1) * number("output") ** 2)
        drawn = {
            "temperature": 1.0,
            "top_p": 1.0 if number("top_p") < 0.5 else 0.95,
            "seed": self._draw.getrandbits(40),
        }
        sampling = SamplingParams(
            **(drawn if number("is drawn") < 0.3 else {"temperature": 0.0}),  # pyright: ignore[reportArgumentType]
            max_tokens=length,
            n=2 if number("n") < 0.05 else 1,
            logprobs=2 if number("logprobs") < 0.05 else None,
            presence_penalty=0.5 if number("penalty") < 0.02 else 0.0,
        )
        salt = "another" if number("salt") < 0.1 else ""
        self._core.submit(
            Request(request_id=name, prompt_ids=(*stem, *own), sampling=sampling, cache_salt=salt)
        )
        for index in range(sampling.n):
            self._missing[name, index] = length
        if number("is aborted") < _SHARE_ABORTED:
            moment = self._steps + int(number("abort") * 2 * length)
            heapq.heappush(self._aborts, (moment, name))

    def _step(self) -> None:
        self._steps += 1
        while self._aborts and self._aborts[0][0] <= self._steps:
            _, name = heapq.heappop(self._aborts)
            for output in self._core.abort(name):
                assert output.finish_reason is FinishReason.ABORT, output
                del self._missing[name, output.index]
                self.counts["aborted"] += 1
        for output in self._core.step():
            assert output.error is None, output.error
            assert output.token_id is not None, output
            key = (output.request_id, output.index)
            self._missing[key] -= 1
            self.counts["tokens"] += 1
            is_last = output.finish_reason is FinishReason.LENGTH
            assert is_last == (self._missing[key] == 0), output
            if is_last:
                del self._missing[key]
                self.counts["ended"] += 1

    def _ids(self, count: int) -> tuple[int, ...]:
        return tuple(self._draw.choices(range(self._mixture.vocab), k=count))


def complaint(rates: list[float]) -> str | None:
    """What is wrong with the rates of equal stretches of time; None if nothing.

    Raises:
        ValueError: they are too few to compare.
    """
    if len(rates) <= _FIRST:
        raise ValueError(f"{len(rates)} windows are too few; take more than {_FIRST}")
    first = sum(rates[:_FIRST]) / _FIRST
    rest = sum(rates[_FIRST:]) / (len(rates) - _FIRST)
    if abs(rest / first - 1) <= _TOLERANCE:
        return None
    return f"{first:.1f} tokens/s at first, {rest:.1f} later: {100 * (rest / first - 1):+.1f} %"


def _measure(soak: Soak, core: EngineCore, seconds: float) -> list[float]:
    """Rates of whole windows; what is checked and printed between two does not count."""
    rates: list[float] = []
    for number in range(int(seconds // WINDOW)):
        before, spent = soak.counts["tokens"], 0.0
        while spent < WINDOW:
            begun = time.perf_counter()
            end = begun + min(_CHECK_EVERY, WINDOW - spent)
            soak.run(lambda end=end: time.perf_counter() < end)
            spent += time.perf_counter() - begun
            soak.check()
        rates.append((soak.counts["tokens"] - before) / spent)
        stats = core.stats()
        print(
            f"{(number + 1) * WINDOW:6.0f} s {rates[-1]:9.1f} tokens/s, {soak.counts['ended']} ended, "
            f"{soak.counts['aborted']} aborted, {stats.preemptions} preempted, "
            f"{stats.cached_tokens / max(1, stats.prompt_tokens):.0%} of prompts cached, "
            f"{stats.pages_held} of {stats.num_pages} pages, {peak_resident_bytes() / 1e9:.2f} GB",
            flush=True,
        )
    return rates


def main() -> int:
    """Run it and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--max-sequences", type=int, default=None, help="[64 on CUDA, 4 on CPU]")
    parser.add_argument(
        "--prompt", type=int, default=None, help="longest [3000 on CUDA, 60 on CPU]"
    )
    parser.add_argument("--output", type=int, default=None, help="longest [600 on CUDA, 30 on CPU]")
    parser.add_argument("--pages", type=int, default=None, help="of the KV cache [what is free]")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    device = torch_device(given.device)
    is_large = device.type == "cuda"
    model = load_module(CausalLM, find_model(given.model), device=device)
    vocab = min(special.LAST_LISTED + 1, model.config.vocab_size)
    side_by_side = given.max_sequences or (64 if is_large else 4)
    core = EngineCore(
        model,
        EngineConfig(
            max_sequences=side_by_side,
            num_pages=given.pages,
            valid_token_ids_end=vocab,
            deterministic=given.deterministic,
        ),
    )
    core.warm_up()
    freeze_garbage()  # as a server does
    mixture = Mixture(
        live=side_by_side + max(2, side_by_side // 2),
        longest_prompt=given.prompt or (3000 if is_large else 60),
        longest_output=given.output or (600 if is_large else 30),
        vocab=vocab,
    )
    soak = Soak(core, mixture, given.seed)
    begun = time.perf_counter()
    soak.run(lambda: soak.counts["ended"] < _WARM * side_by_side)
    print(f"warm after {time.perf_counter() - begun:.1f} s", flush=True)
    rates = _measure(soak, core, given.seconds)
    soak.drain()
    print(", ".join(f"{count} {name}" for name, count in soak.counts.items()))
    found = complaint(rates)
    print(found or "no page is lost, nothing failed, and it is as fast as it was")
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())

"""Ossia against llama.cpp on the same CPU, shape and precision: 8-bit dense matrices, MXFP4 experts.

    python benchmarks/cpu_vs_llamacpp.py --llama BIN_FOLDER --gguf 20b.gguf --ossia ./20b
        [--rounds 5] [--repeats 1] [--tests pp512 tg64 tg64x8 tg64@4096] [--json out.json]

The two take turns, each in a process of its own, since both models do not fit the memory of a small machine
together; which one begins changes from round to round. A figure is the median of the rounds. llama.cpp's
come from llama-bench, its batches from llama-batched-bench; Ossia's from `ossia bench latency`, with weights
and activations in 8 bits, which are what llama.cpp multiplies by, too. A share is what a token has to
read, weights, keys and values, over the time and the read bandwidth measured between Ossia's steps, over
its weights: the median of the rounds. llama.cpp reads as many bytes.

BIN_FOLDER holds llama-bench and llama-batched-bench built for this machine; 20b.gguf has the shape of
gpt-oss-20b, Q8_0 and MXFP4, with random weights; ./20b is `ossia convert random:20b ./20b`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEST = re.compile(r"(pp|tg)(\d+)(?:x(\d+))?(?:@(\d+))?")


@dataclass(frozen=True, slots=True)
class Test:
    """What is timed.

    Args:
        name: pp512 (a prompt), tg64 (tokens), tg64x8 (of 8 sequences together), tg64@4096 (behind so
            many tokens).
        kind: pp or tg.
        tokens: Of the prompt, or made of each sequence.
        batch: Sequences.
        depth: Tokens in the cache before.
    """

    name: str
    kind: str
    tokens: int
    batch: int
    depth: int

    @classmethod
    def of(cls, name: str) -> Test:
        """From its name."""
        found = TEST.fullmatch(name)
        if found is None:
            raise argparse.ArgumentTypeError(
                f"{name!r} is no test such as pp512, tg64x8 or tg64@4096"
            )
        kind, tokens, batch, depth = found.groups()
        return cls(name, kind, int(tokens), int(batch or 1), int(depth or 0))


class Peers:
    """Both programs, started once for each test."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._given = arguments
        self.bandwidths: dict[str, list[float]] = defaultdict(list)
        self.shares: dict[str, list[float]] = defaultdict(list)

    def ossia(self, test: Test) -> float:
        """Tokens a second."""
        prompt, tokens = (test.tokens, 2) if test.kind == "pp" else (16, test.tokens)
        command = [
            *(sys.executable, "-m", "ossia", "bench", "latency", "--json", "--device", "cpu"),
            *("--model", str(self._given.ossia), "--threads", str(self._given.threads)),
            *("--cpu-weights", "int8", "--cpu-activations", "int8"),
            *("--repeats", str(self._given.repeats)),
            *("--prompt", str(prompt), "--tokens", str(tokens)),
            *("--batch", str(test.batch), "--depth", str(test.depth)),
        ]
        report = json.loads(_output(command))
        (result,) = (one for one in report["results"] if one["test"] == f"{test.kind}{test.tokens}")
        if test.kind == "tg":
            self.bandwidths[test.name].append(result["read_bandwidth"])
            self.shares[test.name].append(result["share_with_kv"])
        return result["tokens_per_second"]["mean"]

    def llama(self, test: Test) -> float:
        """Tokens a second; the file is read beforehand, since it is mapped and may have left the memory."""
        with self._given.gguf.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
        threads = ["-t", str(self._given.threads)]
        model = ["-m", str(self._given.gguf)]
        if test.batch > 1:
            sizes = ["-npp", "16", "-ntg", str(test.tokens), "-npl", str(test.batch), "-c", "4096"]
            shown = _output(
                [str(self._given.llama / "llama-batched-bench"), *model, *threads, *sizes,
                 "--output-format", "jsonl"]
            )  # fmt: skip
            (line,) = (json.loads(line) for line in shown.splitlines() if line.startswith("{"))
            return line["speed_tg"]
        counts = (
            ["-p", str(test.tokens), "-n", "0"]
            if test.kind == "pp"
            else ["-p", "0", "-n", str(test.tokens)]
        )
        shown = _output(
            [str(self._given.llama / "llama-bench"), *model, *threads, *counts,
             "-d", str(test.depth), "-r", str(self._given.repeats), "-o", "json"]
        )  # fmt: skip
        (result,) = json.loads(shown)
        return result["avg_ts"]


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama", type=Path, required=True, help="folder of llama-bench")
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--ossia", type=Path, required=True, help="a checkpoint folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--repeats",
        type=int,
        default=1,
        help="of each test in a round (llama-batched-bench knows but one)",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--tests", type=Test.of, nargs="+", default=[Test.of("pp512"), Test.of("tg64")]
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    peers = Peers(arguments)
    runs: dict[str, Any] = {"ossia": peers.ossia, "llama.cpp": peers.llama}
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(arguments.rounds):
        for test in arguments.tests:
            for name in sorted(runs, reverse=number % 2 == 1):
                figures[test.name][name].append(runs[name](test))
            told = ", ".join(
                f"{name} {values[-1]:.2f}" for name, values in figures[test.name].items()
            )
            print(f"round {number + 1}, {test.name}: {told}", file=sys.stderr, flush=True)
    print(f"{'test':>10} {'ossia':>8} {'llama.cpp':>10} {'ratio':>6}  share of what memory allows")
    for name, values in figures.items():
        ours, theirs = (statistics.median(values[peer]) for peer in ("ossia", "llama.cpp"))
        share = ""
        if name in peers.shares:
            read = statistics.median(peers.bandwidths[name]) / 1e9
            share = f"  {statistics.median(peers.shares[name]):.1%} of {read:.1f} GB/s"
        print(f"{name:>10} {ours:8.2f} {theirs:10.2f} {ours / theirs:6.2f}{share}")
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps(
                {"figures": figures, "bandwidths": peers.bandwidths, "shares": peers.shares},
                indent=1,
            )
        )


if __name__ == "__main__":
    main()

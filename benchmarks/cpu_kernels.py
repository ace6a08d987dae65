"""Time the CPU kernels at gpt-oss-20b's shapes, beside the memory's own speed and torch.

python benchmarks/cpu_kernels.py [--isa NAME ...] [--threads 1 2] [--only WORD] [--each 4 8] [--quick]
    [--seconds 1.5]

Several instruction sets take turns, case by case. With --each there are cases in which every expert has just
so many tokens: where a set goes from one kind of product to another, neighbours among these tell.

The share is the read bandwidth reached over that of plain loops which only read, measured just before with
the same threads. Every figure is the best of several repeats in wall-clock time, each on weights that the
caches do not hold; on a machine that does other work, the best is what says something, and a share may
exceed 100 % because the loops were disturbed more. Products of many tokens are bound by arithmetic: there
GMAC/s is what to look at.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ossia.kernels.attention import cpu as attention_cpu
from ossia.kernels.attention import reference as attention_reference
from ossia.kernels.cpu import KernelLibrary, load, why_not
from ossia.kernels.dense import cpu as dense_cpu
from ossia.kernels.dense import reference as dense_reference
from ossia.kernels.int8 import quantize
from ossia.kernels.kv_write import cpu as kv_write_cpu
from ossia.kernels.kv_write import reference as kv_write_reference
from ossia.kernels.moe import ExpertWeights, reference
from ossia.kernels.moe import cpu as moe_cpu
from ossia.kernels.mxfp4 import Mxfp4Tensor, interleave
from ossia.kernels.norm import cpu as norm_cpu
from ossia.kernels.norm import reference as norm_reference
from ossia.kernels.routing import route
from ossia.kernels.sampling import Drawing
from ossia.kernels.sampling import cpu as sampling_cpu
from ossia.kernels.sampling import reference as sampling_reference

HIDDEN, FFN, EXPERTS, TOP_K = 2880, 2880, 32, 4
HEADS, KV_HEADS, HEAD_DIM, VOCAB = 64, 8, 64, 201_088
EXPERT_BYTES = (2 * FFN * HIDDEN + HIDDEN * FFN) * 17 // 32
PAGE = 16
DTYPE = torch.bfloat16


@dataclass(frozen=True, slots=True)
class Case:
    """A call to be timed.

    Args:
        name: What is computed.
        run: By the kernels; a call each time on other memory.
        by_torch: By the reference, or None where that takes too long.
        megabytes: Weights or keys that have to be read.
        macs: Multiplications, in thousands of millions.
    """

    name: str
    run: Callable[[], object]
    by_torch: Callable[[], object] | None
    megabytes: float
    macs: float = 0.0


def best_ms(run: Callable[[], object], seconds: float = 1.5, least: int = 3) -> float:
    """Least milliseconds of a call, of as many as fit."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < until:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def bandwidth(kernels: KernelLibrary, memory: torch.Tensor, threads: int) -> float:
    """GB/s of reading some memory, in the best of several ways."""

    def seconds(isa: str, ahead: int) -> float:
        with kernels.using(isa):
            return best_ms(lambda: kernels.read(memory, threads, ahead=ahead), 0.2)

    isas = {"portable", kernels.isa}  # narrow reads are not always the slower ones
    return memory.nbytes / min(seconds(isa, ahead) for isa in isas for ahead in (0, 8192)) / 1e6


def experts() -> tuple[ExpertWeights, ExpertWeights]:
    """A layer in the checkpoint's order, and interleaved."""

    def packed(rows: int, columns: int) -> Mxfp4Tensor:
        shape = (EXPERTS, rows, columns // 32)
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
        return Mxfp4Tensor(blocks, torch.randint(117, 121, shape, dtype=torch.uint8))

    gate_up, down = packed(2 * FFN, HIDDEN), packed(HIDDEN, FFN)
    plain = ExpertWeights(
        gate_up=gate_up, gate_up_bias=torch.randn(EXPERTS, 2 * FFN, dtype=DTYPE) * 0.1,
        down=down, down_bias=torch.randn(EXPERTS, HIDDEN, dtype=DTYPE) * 0.1,
        alpha=1.702, limit=7.0,
    )  # fmt: skip
    return plain, replace(
        plain, gate_up=interleave(gate_up, paired=True), down=interleave(down, paired=False)
    )


Choices = list[tuple[torch.Tensor, torch.Tensor]]


def at_random(tokens: int) -> Choices:
    """Weights and experts of tokens that choose by themselves; several times."""
    return [route(torch.randn(tokens, EXPERTS).to(DTYPE), TOP_K) for _ in range(16)]


def evenly(each: int) -> Choices:
    """Of as many tokens as give each expert so many."""
    tokens = each * EXPERTS // TOP_K
    ids = (torch.arange(tokens * TOP_K) % EXPERTS).view(tokens, TOP_K)
    return [
        (torch.rand(tokens, TOP_K).to(DTYPE), ids[torch.randperm(tokens)].contiguous())
        for _ in range(16)
    ]


def expert_case(
    name: str, precision: str, choices: Choices,
    plain: ExpertWeights, interleaved: ExpertWeights, *, compared: bool,
) -> Case:  # fmt: skip
    """MXFP4 experts in either precision; the choices take turns."""
    tokens = len(choices[0][1])
    x = torch.randn(tokens, HIDDEN, dtype=DTYPE)
    turns, torch_turns = itertools.cycle(choices), itertools.cycle(choices)
    ours = replace(interleaved, int8_activations=precision == "int8")

    def run() -> torch.Tensor:
        weights, ids = next(turns)
        return moe_cpu.run_experts(x, ids, weights, ours)

    def by_torch() -> torch.Tensor:
        weights, ids = next(torch_turns)
        return reference.run_experts(x, ids, weights, plain)

    distinct = sum(len(ids.unique()) for _, ids in choices) / len(choices)
    return Case(
        f"experts, {precision}, {name}", run, by_torch if compared else None,
        distinct * EXPERT_BYTES / 1e6, tokens * TOP_K * 3 * HIDDEN * FFN / 1e9,
    )  # fmt: skip


def expert_cases(quick: bool, each: list[int]) -> Iterator[Case]:
    """From one token to a piece of a prompt, and so many for each expert."""
    plain, interleaved = experts()
    for tokens, precision in itertools.product((1, 8, 64, 128, 512), ("full", "int8")):
        compared = precision == "full" and (tokens == 1 or not quick)
        yield expert_case(
            f"{tokens} tokens", precision, at_random(tokens), plain, interleaved, compared=compared
        )
    for precision, count in itertools.product(("full", "int8"), each):
        yield expert_case(
            f"{count} each", precision, evenly(count), plain, interleaved, compared=False
        )


def dense_case(name: str, rows: int, columns: int, copies: int, tokens: int) -> Case:
    """A matrix in bfloat16; several of them, so that none is found in a cache."""
    matrices = torch.randn(copies, rows, columns, dtype=DTYPE)
    x = torch.randn(tokens, columns, dtype=DTYPE)
    turns, torch_turns = itertools.cycle(matrices), itertools.cycle(matrices)
    return Case(
        f"{name}, {tokens} tokens",
        lambda: dense_cpu.linear(x, next(turns), None),
        lambda: dense_reference.linear(x, next(torch_turns), None),
        matrices[0].nbytes / 1e6,
        tokens * rows * columns / 1e9,
    )


def dense_cases() -> Iterator[Case]:
    """The matrices around attention, and the unembedding."""
    for tokens in (1, 4, 8):
        yield dense_case("q, k, v", 5120, HIDDEN, 8, tokens)
        yield dense_case("output", HIDDEN, 4096, 8, tokens)
        yield dense_case("unembedding", VOCAB, HIDDEN, 1, tokens)


def int8_case(name: str, rows: int, columns: int, tokens: int, precision: str) -> Case:
    """A matrix of 8 bits; several of them, so that none is found in a cache."""
    matrices = [quantize(torch.randn(rows, columns, dtype=DTYPE)) for _ in range(8)]
    x = torch.randn(tokens, columns, dtype=DTYPE)
    turns = itertools.cycle(matrices)
    return Case(
        f"{name} of 8 bits, {precision}, {tokens} tokens",
        lambda: dense_cpu.linear_int8(
            x, next(turns), None, int8_activations=precision == "int8"
        ),
        None,
        rows * columns * (1 + 2 / 32) / 1e6,
        tokens * rows * columns / 1e9,
    )  # fmt: skip


def int8_cases() -> Iterator[Case]:
    """The matrices around attention in 8 bits, from one token to a piece of a prompt."""
    for tokens, precision in itertools.product((1, 8, 16, 64, 512), ("full", "int8")):
        yield int8_case("q, k, v", 5120, HIDDEN, tokens, precision)


def attention_case(context: int, window: int | None) -> Case:
    """One new token over its keys; sequences take turns."""
    num_pages = 32 * context // PAGE
    pages = torch.randn(2, num_pages, PAGE, KV_HEADS, HEAD_DIM, dtype=DTYPE)
    tables = torch.randperm(num_pages, dtype=torch.int32).view(32, 1, -1)
    sinks, q = torch.randn(HEADS, dtype=DTYPE), torch.randn(1, HEADS, HEAD_DIM, dtype=DTYPE)
    turns, torch_turns = itertools.cycle(tables), itertools.cycle(tables)
    lens = ([1], [context])
    return Case(
        f"attention, {context} keys",
        lambda: attention_cpu.attend_paged(q, *pages, next(turns), *lens, sinks, window),
        lambda: attention_reference.attend_paged(
            q, *pages, next(torch_turns), *lens, sinks, window
        ),
        2 * context * KV_HEADS * HEAD_DIM * 2 / 1e6,
        2 * context * HEADS * HEAD_DIM / 1e9,
    )


def prompt_case(tokens: int, window: int | None) -> Case:
    """A prompt attends to itself."""
    pages = torch.randn(2, tokens // PAGE, PAGE, KV_HEADS, HEAD_DIM, dtype=DTYPE)
    table = torch.randperm(tokens // PAGE, dtype=torch.int32)[None]
    sinks, q = torch.randn(HEADS, dtype=DTYPE), torch.randn(tokens, HEADS, HEAD_DIM, dtype=DTYPE)
    lens = ([tokens], [tokens])
    pairs = sum(min(position + 1, window or tokens) for position in range(tokens))
    return Case(
        f"prompt, {tokens} tokens, {window or 'all'} keys",
        lambda: attention_cpu.attend_paged(q, *pages, table, *lens, sinks, window),
        lambda: attention_reference.attend_paged(q, *pages, table, *lens, sinks, window),
        0.0,
        2 * pairs * HEADS * HEAD_DIM / 1e9,
    )


def small_cases() -> Iterator[Case]:
    """What stands between the matrices."""
    x, weight = torch.randn(1, HIDDEN, dtype=DTYPE), torch.randn(HIDDEN, dtype=DTYPE)
    yield Case(
        "norm, 1 tokens", lambda: norm_cpu.rms_norm(x, weight, 1e-5),
        lambda: norm_reference.rms_norm(x, weight, 1e-5), 0.0,
    )  # fmt: skip
    q, (k, v) = (
        torch.randn(1, HEADS, HEAD_DIM).to(DTYPE),
        torch.randn(2, 1, KV_HEADS, HEAD_DIM).to(DTYPE),
    )
    pages = tuple(torch.zeros(2, 4, PAGE, KV_HEADS, HEAD_DIM, dtype=DTYPE))
    rope, slots = (torch.ones(1, HEAD_DIM // 2), torch.zeros(1, HEAD_DIM // 2)), torch.tensor([5])
    yield Case(
        "rope, KV write, 1 tokens",
        lambda: kv_write_cpu.rotate_and_write(q, k, v, rope, pages, slots),
        lambda: kv_write_reference.rotate_and_write(q, k, v, rope, pages, slots), 0.0,
    )  # fmt: skip
    yield attention_case(128, 128)
    yield attention_case(4096, None)
    yield prompt_case(2048, None)
    yield prompt_case(2048, 128)


def sampling_case(name: str, logits: torch.Tensor, drawing: Drawing | None) -> Case:
    """One row, which the caches hold."""
    return Case(
        f"sample {name}",
        lambda: sampling_cpu.sample(logits, [drawing]),
        lambda: sampling_reference.sample(logits, [drawing]),
        0.0,
    )


def sampling_cases() -> Iterator[Case]:
    """Every way of drawing from logits as a trained model gives them, and top-p from flat ones."""
    flat = torch.randn(1, VOCAB)
    logits = 2.2 * flat
    logits[0, torch.randperm(VOCAB)[:40]] += torch.linspace(5, 15, 40)
    plain = Drawing(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, uniform=0.37)
    yield sampling_case("greedy", logits, None)
    yield sampling_case("temperature", logits, plain)
    yield sampling_case("top-k", logits, replace(plain, top_k=50))
    yield sampling_case("top-p", logits, replace(plain, top_p=0.95))
    yield sampling_case("top-p, flat", flat, replace(plain, top_p=0.95))
    yield sampling_case("min-p", logits, replace(plain, min_p=0.05))
    token_ids = torch.tensor([5])
    yield Case(
        "log-probabilities, top 20",
        lambda: sampling_cpu.token_logprobs(logits, token_ids, 20),
        lambda: sampling_reference.token_logprobs(logits, token_ids, 20), 0.0,
    )  # fmt: skip


def report(case: Case, isa: str, gb_per_s: float, seconds: float, *, with_torch: bool) -> None:
    """A line of the table."""
    ours = best_ms(case.run, seconds)
    reached = case.megabytes / ours
    share = f"{reached:6.1f} of {gb_per_s:4.1f} GB/s {reached / gb_per_s:5.0%}"
    share = share if case.megabytes else " " * len(share)
    pace = f"{case.macs / ours * 1e3:6.0f} GMAC/s" if case.macs else " " * 13
    against = ""
    if case.by_torch is not None and with_torch:
        theirs = best_ms(case.by_torch, seconds, least=2)
        against = f"torch {theirs:9.3f} ms, {theirs / ours:5.1f} times as long"
    name = f"{case.name:36} {isa:12}"
    print(f"  {name} {ours:9.3f} ms {case.megabytes:8.1f} MB {share} {pace}  {against}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", nargs="+", help="instruction sets other than the best")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="cases with this word in their names")
    parser.add_argument("--each", type=int, nargs="+", default=[], help="tokens of every expert")
    parser.add_argument("--quick", action="store_true", help="leave out what torch is slow at")
    parser.add_argument("--seconds", type=float, default=1.5, help="of repeats of a case")
    arguments = parser.parse_args()
    kernels = load()
    if kernels is None:
        raise SystemExit(f"no CPU kernels: {why_not()}")
    isas = arguments.isa or [kernels.isa]
    with torch.no_grad():
        memory = torch.ones(1 << 27, dtype=torch.int64)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            print(f"{threads} threads")
            cases = (
                expert_cases(arguments.quick, arguments.each), dense_cases(), int8_cases(), small_cases(), sampling_cases(),
            )  # fmt: skip
            for case in itertools.chain(*cases):
                if arguments.only not in case.name:
                    continue
                for isa in isas:
                    with kernels.using(isa):
                        gb_per_s = bandwidth(kernels, memory, threads)
                        report(case, isa, gb_per_s, arguments.seconds, with_torch=isa == isas[0])


if __name__ == "__main__":
    main()

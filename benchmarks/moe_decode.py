"""Time the experts of a gpt-oss-20b layer for a few tokens, beside the memory's own speed.

python benchmarks/moe_decode.py [--quick]

Every figure is a CUDA graph's replay over layers whose weights together exceed the L2 cache; tokens
choose their experts at random. `share` is the read bandwidth reached over the one measured here.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import torch
import triton

from ossia.kernels.moe import ExpertWeights, reference, triton_decode
from ossia.kernels.moe.triton_decode import Tiling
from ossia.kernels.mxfp4 import Mxfp4Tensor

HIDDEN, FFN, EXPERTS, TOP_K, LAYERS = 2880, 2880, 32, 4, 12
EXPERT_BYTES = (2 * FFN * HIDDEN + HIDDEN * FFN) * 17 / 32


def random_layer() -> ExpertWeights:
    """One layer's experts, with values of the size that training gives."""

    def packed(rows: int, columns: int) -> Mxfp4Tensor:
        shape = (EXPERTS, rows, columns // 32)
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, device="cuda")
        return Mxfp4Tensor(blocks, torch.randint(117, 121, shape, dtype=torch.uint8, device="cuda"))

    def bias(columns: int) -> torch.Tensor:
        return torch.randn(EXPERTS, columns, dtype=torch.bfloat16, device="cuda") * 0.1

    return ExpertWeights(
        gate_up=packed(2 * FFN, HIDDEN), gate_up_bias=bias(2 * FFN),
        down=packed(HIDDEN, FFN), down_bias=bias(HIDDEN), alpha=1.702, limit=7.0,
    )  # fmt: skip


def read_bandwidth() -> float:
    """Bytes a second of a plain reduction over 4 GiB."""
    values = torch.ones(1 << 30, dtype=torch.float32, device="cuda")
    return values.nbytes / (triton.testing.do_bench(values.sum, return_mode="median") * 1e-3)


def graph_ms(run: Callable[[], None], repeats: int = 20) -> float:
    """Median milliseconds of a graph's replay."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def routed(tokens: int) -> torch.Tensor:
    """Random choices: (tokens, top_k)."""
    return torch.stack([torch.randperm(EXPERTS, device="cuda")[:TOP_K] for _ in range(tokens)])


def check(layers: list[ExpertWeights]) -> None:
    """Every batch size against float32 arithmetic on the same weights."""
    for tokens in (1, 2, 3, 5, 8, 13, 16):
        x = torch.randn(tokens, HIDDEN, dtype=torch.bfloat16, device="cuda")
        ids, weights = (
            routed(tokens),
            torch.rand(tokens, TOP_K, dtype=torch.bfloat16, device="cuda"),
        )
        fast = triton_decode.run_experts(x, ids, weights, layers[0])
        again = triton_decode.run_experts(x, ids, weights, layers[0])
        exact = reference.run_experts(x.float(), ids, weights.float(), _widened(layers[0]))
        plain = reference.run_experts(x, ids, weights, layers[0])
        error, usual = (float((y.float() - exact).norm() / exact.norm()) for y in (fast, plain))
        print(
            f"tokens {tokens:2}: error {error:.2e}, reference in bfloat16 {usual:.2e}, repeats {torch.equal(fast, again)}"
        )
        assert error < 1e-2


def _widened(layer: ExpertWeights) -> ExpertWeights:
    return ExpertWeights(
        gate_up=layer.gate_up, gate_up_bias=layer.gate_up_bias.float(),
        down=layer.down, down_bias=layer.down_bias.float(), alpha=layer.alpha, limit=layer.limit,
    )  # fmt: skip


def main() -> None:
    """Check, then time every tiling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the tilings in use")
    chosen = parser.parse_args()
    bandwidth = read_bandwidth()
    print(f"{torch.cuda.get_device_name()}: read bandwidth {bandwidth / 1e12:.2f} TB/s")
    torch.manual_seed(0)
    layers = [random_layer() for _ in range(LAYERS)]
    check(layers)
    tilings = [
        triton_decode.GATE_UP_FEW, triton_decode.DOWN_FEW,
        triton_decode.GATE_UP_MORE, triton_decode.DOWN_MORE,
    ]  # fmt: skip
    if not chosen.quick:
        shapes = itertools.product((32, 64, 128), (64, 128, 256), ((4, 3), (4, 5), (8, 3)))
        tilings += [Tiling(rows=r, depth=d, warps=w, stages=s) for r, d, (w, s) in shapes]
    print("microseconds a layer and share of the read bandwidth, up and down, for 1, 8, 16 tokens")
    for tiling in tilings:
        cells = [_cells(layers, tokens, tiling, bandwidth) for tokens in (1, 8, 16)]
        name = f"{tiling.rows:3} x {tiling.depth:3}, {tiling.warps} warps, {tiling.stages} stages"
        print(f"{name}: {' | '.join(cells)}", flush=True)


def _cells(layers: list[ExpertWeights], tokens: int, tiling: Tiling, bandwidth: float) -> str:
    x = torch.randn(tokens, HIDDEN, dtype=torch.bfloat16, device="cuda")
    weights = torch.rand(tokens, TOP_K, dtype=torch.bfloat16, device="cuda")
    choices = [routed(tokens) for _ in layers]
    distinct = sum(len(ids.unique()) for ids in choices)
    inner = torch.randn(tokens * TOP_K, FFN, dtype=torch.bfloat16, device="cuda")

    def up() -> None:
        for layer, ids in zip(layers, choices, strict=True):
            triton_decode.project_up(x, ids, layer, tiling)

    def down() -> None:
        for layer, ids in zip(layers, choices, strict=True):
            triton_decode.project_down(inner, ids, weights, layer, tiling)

    found = []
    for run, part in ((up, 2 / 3), (down, 1 / 3)):
        try:
            seconds = graph_ms(run) * 1e-3
        except Exception as error:  # a tiling that the card has no room for
            found.append(f"{type(error).__name__[:14]:>14}")
            torch.cuda.synchronize()
            continue
        share = distinct * EXPERT_BYTES * part / seconds / bandwidth
        found.append(f"{seconds / LAYERS * 1e6:6.1f} us {share:5.1%}")
    return " ".join(found)


if __name__ == "__main__":
    main()

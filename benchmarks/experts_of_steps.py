"""Time a layer's experts in steps of some numbers of tokens, in every way that takes them.

    python benchmarks/experts_of_steps.py
    python benchmarks/experts_of_steps.py --tokens 96,128,192 --ways dozens,wide

Experts of gpt-oss-20b's size with random weights, tokens that choose at random. Every figure is a CUDA graph's
replay over several layers in turn, so that weights come from memory; `share` is of the reads measured in the
same run, each chosen expert counted once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch

from ossia.bench.ceilings import read_bandwidth
from ossia.bench.timing import graph_ms
from ossia.kernels.decode import X_SCALE, dozens, several, wide
from ossia.kernels.decode.experts import RoutedStep
from ossia.kernels.decode.routed import Slots, dispatch, routed_down, routed_up
from ossia.kernels.mxfp4 import Mxfp4Tensor, RelaidMxfp4, relay

SIZE, EXPERTS, TOP_K, LAYERS = 2880, 32, 4, 6
ALPHA, LIMIT = 1.702, 7.0
EXPERT_BYTES = 3 * SIZE * SIZE * 17 / 32
WIDTHS: dict[str, tuple[int | None, ...]] = {
    "several": tuple(several.WIDTHS),
    "dozens": (dozens.WIDTH,),
    "routed": (None,),
    "wide": tuple(wide.VARIANTS),
}
Layer = tuple[tuple[RelaidMxfp4, RelaidMxfp4], tuple[torch.Tensor, torch.Tensor]]


def random_layer() -> Layer:
    """Both matrices, relaid, and their biases."""

    def packed(rows: int) -> Mxfp4Tensor:
        shape = (EXPERTS, rows, SIZE // 32)
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, device="cuda")
        return Mxfp4Tensor(blocks, torch.randint(112, 124, shape, dtype=torch.uint8, device="cuda"))

    matrices = relay(packed(2 * SIZE), paired=True), relay(packed(SIZE), paired=False)
    up, down = (
        torch.randn(EXPERTS, rows, dtype=torch.bfloat16, device="cuda") for rows in (2 * SIZE, SIZE)
    )
    return matrices, (up, down)


def runs(way: str, slots: Slots, tokens: int, layers: list[Layer]) -> Callable[[], None]:
    """What enqueues all layers' experts one after the other."""
    x = torch.randn(tokens, SIZE, dtype=torch.bfloat16, device="cuda") * X_SCALE
    inner = torch.zeros(tokens * TOP_K, SIZE, dtype=torch.bfloat16, device="cuda")
    said = torch.empty(TOP_K, tokens, SIZE, device="cuda")
    arrivals = torch.zeros(1, dtype=torch.int64, device="cuda")

    def run() -> None:
        for (gate_up, down), biases in layers:
            if way in ("several", "dozens"):
                at_once = several.run_several if way == "several" else dozens.run_dozens
                at_once(
                    x, slots, (gate_up, down), biases, ALPHA, LIMIT, inner, said, arrivals
                )  # fmt: skip
            elif way == "wide":
                wide.wide_up(x, slots, gate_up, biases[0], ALPHA, LIMIT, inner, overlap=True)
                wide.wide_down_parts(inner, slots, down, biases[1], said, overlap=True)
            else:
                routed_up(x, slots, gate_up, biases[0], ALPHA, LIMIT, inner)
                routed_down(inner, slots, down, biases[1], said)

    return run


def cases(ways: list[str], sizes: list[int]) -> Iterator[tuple[int, str, int | None]]:
    """Tokens, way and width, but those with twice as many items as experts and more."""
    for tokens in sizes:
        for way in ways:
            for width in WIDTHS[way]:
                if width is None or tokens * TOP_K <= 2 * width * EXPERTS:
                    yield tokens, way, width


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", default="16,32,64,96,128,192,256,512")
    parser.add_argument("--ways", default=",".join(WIDTHS))
    given = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda", torch.cuda.current_device())
    bandwidth = read_bandwidth(device)
    layers = [random_layer() for _ in range(LAYERS)]
    print(f"{torch.cuda.get_device_name()}, reads of {bandwidth / 1e12:.2f} TB/s")
    for tokens, way, width in cases(given.ways.split(","), [int(one) for one in given.tokens.split(",")]):  # fmt: skip
        torch.manual_seed(tokens)  # the same choices for all ways
        logits = torch.randn(tokens, EXPERTS, device="cuda").bfloat16().float()
        slots = Slots.empty(tokens, EXPERTS, TOP_K, device, width)
        dispatch(slots, RoutedStep(logits=logits, positions=None, top_k=TOP_K), overlap=False)
        chosen, items = len(slots.ids.unique()), int(slots.num_items)
        seconds = graph_ms(runs(way, slots, tokens, layers)) * 1e-3 / LAYERS
        share = chosen * EXPERT_BYTES / seconds / bandwidth
        name = f"{way} {slots.width}"
        print(
            f"{tokens:5} tokens, {name:12} {items:3} items of {chosen} experts: {seconds * 1e6:6.1f} us, "
            f"{share:.0%} of the reads",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Time products with matrices in 8-bit floats beside those in bfloat16, and beside the memory's own speed.

    python -m benchmarks.fp8_products [--tokens 1,2,4,8,16,32,64,128,512] [--tilings]

The matrices are those of gpt-oss-20b: the unembedding, the joined projections of queries, keys and values, and
that of outputs, the small ones of many layers in turn, so that they come from memory. Each figure is the median
of replays of a CUDA graph. `share` is the read bandwidth that the weights' bytes make of it, over the one measured
in the same run. bfloat16 is what the engine's steps do else (`kernels/decode/projection.py`). `--tilings` times
Triton's product in other cuts, too, the fastest first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import product

import torch
import triton
from triton.runtime.errors import OutOfResources

from ossia.bench.ceilings import measure_ceilings
from ossia.bench.timing import graph_ms
from ossia.kernels import fp8
from ossia.kernels.decode import num_parts, project
from ossia.kernels.fp8 import triton_many
from ossia.kernels.fp8.triton_many import Tiling

DEVICE = torch.device("cuda", 0)
# rows, k, and how many of them are gone through
MATRICES = {"unembedding": (201_088, 2880, 1), "qkv": (5120, 2880, 24), "output": (2880, 4096, 24)}
_SHOWN = 6  # tilings


def milliseconds(calls: Sequence[Callable[[], None]]) -> float:
    """Of each."""

    def run() -> None:
        for call in calls:
            call()

    return graph_ms(run) / len(calls)


def tilings(tokens: int) -> list[Tiling]:
    """Cuts that may suit."""
    least = min(128, max(16, triton.next_power_of_2(tokens)))
    return [
        Tiling(tokens=columns, rows=rows, depth=depth, warps=warps, stages=stages)
        for columns in {least, max(16, least // 2)}
        for rows, depth, warps, stages in product((32, 64, 128, 256), (64, 128), (4, 8), (3, 4, 6))
    ]


class Products:
    """A matrix of some kind, as often as it takes to come from memory.

    Args:
        rows: Of the matrix.
        columns: Of it.
        count: Matrices.
    """

    def __init__(self, rows: int, columns: int, count: int) -> None:
        shape = (rows, columns)
        self.plain = [
            torch.randn(shape, dtype=torch.bfloat16, device=DEVICE) / 50 for _ in range(count)
        ]
        self.rounded = [fp8.quantize(weight) for weight in self.plain]

    def tensors(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Operands and room for the results."""
        rows, columns = self.plain[0].shape
        x = torch.randn(tokens, columns, dtype=torch.bfloat16, device=DEVICE)
        parts = num_parts(tokens, columns, rows, DEVICE)
        return x, torch.empty(parts, tokens, rows, device=DEVICE)

    def in_bfloat16(self, tokens: int) -> float:
        """Milliseconds."""
        x, out = self.tensors(tokens)
        return milliseconds([lambda w=weight: project(x, [w], out) for weight in self.plain])

    def in_fp8(self, tokens: int, run: str = "chosen", tiling: Tiling | None = None) -> float:
        """Milliseconds of what the engine chooses, or of Triton's product."""
        x, out = self.tensors(tokens)
        if run == "chosen":
            return milliseconds([lambda m=one: fp8.multiply(x, m, out[0]) for one in self.rounded])
        return milliseconds([
            lambda m=one: triton_many.multiply(x, m, out[0], tiling=tiling) for one in self.rounded
        ])  # fmt: skip


def show_tilings(products: Products, tokens: int) -> None:
    """The fastest of them."""
    found: list[tuple[float, Tiling]] = []
    for tiling in tilings(tokens):
        try:
            found.append((products.in_fp8(tokens, "triton", tiling), tiling))
        except OutOfResources:  # of shared memory
            continue
    for ms, tiling in sorted(found, key=lambda pair: pair[0])[:_SHOWN]:
        print(f"    {ms * 1e3:8.1f} us  {tiling}")


@torch.inference_mode()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", default="1,2,3,4,8,16,24,32,64,128,256,512")
    parser.add_argument("--matrices", default=",".join(MATRICES))
    parser.add_argument("--tilings", action="store_true")
    chosen = parser.parse_args()
    torch.cuda.set_device(DEVICE)
    bandwidth = measure_ceilings(DEVICE).read_bandwidth
    print(f"{torch.cuda.get_device_name(DEVICE)}, reads {bandwidth / 1e12:.2f} TB/s")
    for name in chosen.matrices.split(","):
        rows, columns, count = MATRICES[name]
        products = Products(rows, columns, count)
        print(
            f"{name}: {rows} x {columns}\n{'tokens':>6} {'bfloat16':>18} {'fp8':>18} {'Triton':>18}"
        )
        for tokens in map(int, chosen.tokens.split(",")):
            times = (
                products.in_bfloat16(tokens),
                products.in_fp8(tokens),
                products.in_fp8(tokens, "triton"),
            )
            bytes_of = (2 * rows * columns, *[(columns + 4) * rows] * 2)
            cells = [
                f"{ms * 1e3:8.1f} us {nbytes / (ms * 1e-3) / bandwidth:6.1%}"
                for ms, nbytes in zip(times, bytes_of, strict=True)
            ]
            print(f"{tokens:6} {' '.join(f'{cell:>18}' for cell in cells)}")
            if chosen.tilings and tokens > fp8.FEW_TOKENS:
                show_tilings(products, tokens)


if __name__ == "__main__":
    main()
